// Loads speedscope files in the real app; called by scripts/validate-speedscope, which brings what this needs.
'use strict';

const fs = require('fs');
const http = require('http');
const path = require('path');
const zlib = require('zlib');
const Ajv = require('ajv');
const { chromium } = require('playwright-core');

const APP = path.join(path.dirname(require.resolve('speedscope/package.json')), 'dist', 'release');
const TIMEOUT_MS = 60_000;
// The app draws nothing, and loads nothing, without WebGL.
const WEBGL = ['--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader'];
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };

function schemaErrors(file) {
    const schema = JSON.parse(fs.readFileSync(path.join(APP, 'file-format-schema.json'), 'utf8'));
    const bytes = fs.readFileSync(file);
    const text = file.endsWith('.gz') ? zlib.gunzipSync(bytes) : bytes;
    const check = new Ajv({ strict: false, allErrors: true }).compile(schema);
    const profile = JSON.parse(text);
    // The app reads Chrome's trace events too, which have no schema.
    if (profile.traceEvents || check(profile)) return [];
    return check.errors.slice(0, 5).map((error) => `schema: ${error.instancePath} ${error.message}`);
}

// Serves the app, and each file under /profile/N.
function serve(files) {
    const server = http.createServer((request, response) => {
        const name = decodeURIComponent(new URL(request.url, 'http://x').pathname);
        const profile = name.match(/^\/profile\/(\d+)/);
        const file = profile ? files[Number(profile[1])] : path.join(APP, path.normalize(name === '/' ? '/index.html' : name));
        fs.readFile(file, (error, bytes) => {
            response.writeHead(error ? 404 : 200, { 'content-type': TYPES[path.extname(file)] || 'application/octet-stream' });
            response.end(error ? '' : bytes);
        });
    });
    return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

async function appErrors(browser, url) {
    const page = await browser.newPage();
    const errors = [];
    page.on('dialog', (dialog) => { errors.push(`the app says: ${dialog.message()}`); dialog.dismiss(); });
    page.on('pageerror', (error) => errors.push(`the app threw: ${error.message}`));
    page.on('console', (message) => {
        // What a bare server or a missing graphics card make the browser say is no fault of the file.
        if (message.type() === 'error' && !/Failed to load resource|WebGL|GPU/.test(message.text())) {
            errors.push(`the app logged: ${message.text()}`);
        }
        if (message.text().includes('Tried to end')) errors.push(`the app warned: ${message.text()}`);
    });
    await page.goto(url);
    const shown = () => page.evaluate(() => {
        const text = document.body.innerText;
        if (text.includes('Something went wrong')) return 'wrong';
        return document.title.endsWith(' - speedscope') ? 'title' : '';
    });
    const until = Date.now() + TIMEOUT_MS;
    let state = '';
    while (!state && !errors.length && Date.now() < until) {
        await page.waitForTimeout(100);
        state = await shown();
    }
    if (state === 'title') {
        // The title comes before the first picture, which is where a bad index breaks.
        await page.waitForTimeout(500);
        state = await shown();
    }
    if (state === 'wrong') errors.push('the app says: Something went wrong');
    if (!state && !errors.length) errors.push(`the app showed nothing within ${TIMEOUT_MS / 1000} s`);
    await page.close();
    return errors;
}

async function main() {
    const files = process.argv.slice(2);
    const server = await serve(files);
    const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ['--no-sandbox', ...WEBGL] });
    let bad = 0;
    for (const [n, file] of files.entries()) {
        const port = server.address().port;
        const name = encodeURIComponent(`/profile/${n}/${path.basename(file)}`);
        let errors;
        try {
            errors = [...schemaErrors(file), ...(await appErrors(browser, `http://127.0.0.1:${port}/#profileURL=${name}`))];
        } catch (error) {
            errors = [String(error)];
        }
        console.log(`${errors.length ? 'BAD ' : 'good'} ${file}`);
        errors.forEach((error) => console.log(`     ${error}`));
        bad += errors.length > 0;
    }
    await browser.close();
    server.close();
    process.exitCode = bad ? 1 : 0;
}

main();
