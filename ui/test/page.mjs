// Opens reports in a headless Chromium and looks at them as a reader would, by pointer and by keyboard; called by `scripts/ui look`.
//
// The file that it is given says what each report has to show: { cases: [{ html, name, folded, gc, … }] }. It prints a line for
// each and fails if one shows anything else, asks the network for anything, or has an accessibility violation, light or dark.

import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const { cases } = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ['--no-sandbox', '--disable-renderer-backgrounding'] });

const sorted = (text) => text.split('\n').filter(Boolean).sort().join('\n');
const parsed = (text) => text.split('\n').filter(Boolean).map((line) => /^(.*) (\d+)$/.exec(line).slice(1));

class Look {
    constructor(page, its) {
        this.page = page;
        this.its = its;
        this.wrong = [];
    }

    expect(what, got, wanted) {
        if (JSON.stringify(got) !== JSON.stringify(wanted)) {
            const cut = (value) => (JSON.stringify(value) ?? 'undefined').slice(0, 600);
            this.wrong.push(`${what}:\n       ${cut(got)}\n     is not\n       ${cut(wanted)}`);
        }
    }

    async folded() {
        return sorted(readFileSync(await (await this.saved('#save-folded')).path(), 'utf8'));
    }

    async saved(button) {
        const [download] = await Promise.all([this.page.waitForEvent('download'), this.click(button)]);
        return download;
    }

    sum() {
        return this.page.$eval('#flame-chart', (canvas) => Number(canvas.dataset.shown));
    }

    status(id) {
        return this.page.textContent(`#${id}-status`);
    }

    /** What is made when nothing has changed for a moment says so until it is there. */
    settled() {
        return this.page.waitForFunction(() => !document.querySelector('[aria-busy]'));
    }

    /** Clicks on what stays where it is: a panel that is filled between press and release moves it away, and nothing is clicked. */
    async click(selector) {
        await this.settled();
        await this.page.click(selector);
    }

    async tick(selector, on) {
        await this.settled();
        await this.page.setChecked(selector, on);
    }

    /** Opens what is closed, by keyboard: what one of them is filled with moves the next one away. */
    async unfold(selector) {
        for (const summary of await this.page.$$(`${selector}:not([open]) > summary`)) await summary.press('Enter');
        // It is told of that a moment later, and fills itself then.
        const filled = (all) => [...document.querySelectorAll(all)].every((one) => !one.matches('.text[open]') || one.lastElementChild.hasChildNodes());
        await this.page.waitForFunction(filled, selector);
        await this.settled();
    }

    /** Where a chart lies when nothing moves it any more. */
    async place(chart) {
        await chart.scrollIntoViewIfNeeded();
        await this.settled();
        return chart.boundingBox();
    }

    async top() {
        await this.settled();
        return this.page.$$eval('#top-table tbody tr', (rows) => rows.map((row) => [...row.children].map((cell) => cell.textContent)));
    }
}

/** The table of frames that folded stacks make, by own weight. */
function topOf(folded) {
    const all = new Map();
    for (const [stack, weight] of parsed(folded)) {
        const frames = stack.split(';');
        const own = frames.at(-1);
        for (const frame of new Set(frames)) {
            const row = all.get(frame) ?? [0, 0];
            row[0] += frame === own ? Number(weight) : 0;
            row[1] += Number(weight);
            all.set(frame, row);
        }
    }
    return all;
}

function micros(text) {
    const [number, unit] = text.split(' ');
    return Number(number) * { ns: 1e-3, µs: 1, ms: 1e3, s: 1e6 }[unit];
}

async function numbers(look) {
    const { page, its } = look;
    look.expect('folded stacks', await look.folded(), sorted(its.folded));
    const total = parsed(its.folded).reduce((sum, [, weight]) => sum + Number(weight), 0);
    const lines = parsed(its.folded).length;
    if (!(Math.abs((await look.sum()) / 1000 - total) <= lines)) look.wrong.push(`the sum is ${await look.sum()} ns beside ${total} µs`);
    const wanted = topOf(its.folded);
    for (const [frame, own, , totals] of await look.top()) {
        // Folded stacks have a comma where a name has what parts frames there.
        const row = wanted.get(frame.replaceAll(';', ','));
        // The screen has three digits, and folded stacks are rounded to a microsecond a line.
        const near = (shown, exact) => Math.abs(micros(shown) - exact) <= 0.006 * exact + lines;
        if (!row || !near(own, row[0]) || !near(totals, row[1])) look.wrong.push(`the table says ${frame}: ${own} own, ${totals} in all; folded stacks say ${row}`);
    }
    for (const [by, folded] of Object.entries(its.by ?? {})) {
        await page.selectOption('#by', by);
        look.expect(`folded stacks by ${by}`, await look.folded(), sorted(folded));
    }
    await page.selectOption('#by', 'line');
    for (const [mode, folded] of Object.entries(its.modes ?? {})) {
        await page.selectOption('#mode', mode);
        look.expect(`folded stacks of mode ${mode}`, await look.folded(), sorted(folded));
    }
    await page.selectOption('#mode', 'wall');
    if (its.idle !== undefined) {
        await look.tick('#idle', true);
        look.expect('folded stacks with waiting threads', await look.folded(), sorted(its.idle));
        await look.tick('#roots', true);
        look.expect('folded stacks with threads as roots', await look.folded(), sorted(its.threads));
        await look.tick('#roots', false);
        await look.tick('#idle', false);
    }
    if (its.thread) {
        const [name, alone] = its.thread;
        const option = await page.$$eval('#thread option', (options, name) => options.find((it) => it.textContent.startsWith(name))?.value, name);
        await page.selectOption('#thread', option ?? '-1');
        look.expect(`folded stacks of ${name} alone`, await look.folded(), sorted(alone));
        // A thread that is doing one thing is not doing another: the parts are the whole.
        const whole = await look.sum();
        let parts = 0;
        for (const doing of [0, 1, 2, 3, 4]) {
            await page.selectOption('#doing', String(doing));
            parts += await look.sum();
        }
        look.expect('what it did, added up', parts, whole);
        await page.selectOption('#doing', '-1');
        await page.selectOption('#thread', '-1');
    }
    if (its.gc) {
        await look.settled();
        const rows = await page.$$eval('#gc-work tbody tr', (rows) => rows.map((row) => [...row.children].slice(1, 4).map((cell) => Number(cell.textContent.replaceAll(',', '')))));
        look.expect('collections, freed and not to be freed', rows.slice(0, 3), its.gc.map((row) => row.slice(0, 3)));
        const times = await page.$$eval('#gc-work tbody tr', (rows) => rows.map((row) => [...row.children].slice(4, 8).map((cell) => cell.textContent)));
        its.gc.forEach((row, generation) =>
            row.slice(3).forEach((seconds, n) => {
                if (!(Math.abs(micros(times[generation][n]) - seconds * 1e6) <= 0.006 * seconds * 1e6 + 0.001)) look.wrong.push(`generation ${generation} took ${times[generation]}, and not ${row.slice(3)} seconds`);
            }),
        );
    }
}

/** The panels of memory, beside what `heap FILE.pit --json` says. */
async function memory(look) {
    const { page, its } = look;
    await look.settled();
    const number = (value) => value.toLocaleString('en');
    const texts = (table) => page.$$eval(`${table} tbody tr`, (rows) => rows.map((row) => [...row.children].map((cell) => cell.textContent)));
    await look.unfold('#heap details.text');
    const [arenas, classes] = await Promise.all([texts('#heap details.text:nth-of-type(2)'), texts('#heap details.text:nth-of-type(3)')]);
    if (!arenas.length || !arenas.every(([name]) => /^arena 0x[0-9a-f]+, pools? \d+(-\d+)?$/.test(name))) look.wrong.push(`these are no pools: ${arenas.slice(0, 3)}`);
    const { rows, block_sizes: sizes, block_bytes: used } = its.map;
    const named = rows.map(({ pools: { arena, first, count } }) => `arena 0x${arena.toString(16)}, pool${count > 1 ? `s ${first}-${first + count - 1}` : ` ${first}`}`);
    look.expect('rows of addresses', arenas.map(([name]) => name), named);
    const filled = rows.map(({ pools }, row) => (!sizes[row].at(-1) ? 'no block in use' : `${pools.count > 1 ? 'mostly ' : ''}blocks of ${sizes[row].at(-1)} bytes`));
    arenas.forEach((row, n) => used[n].at(-1) !== null && row[5] !== 'not there' && look.expect(`what ${named[n]} serves`, row[5].split(',')[0], filled[n]));
    const told = classes.filter((row) => row[5] !== 'not there').map((row) => [row[0], row[5]]);
    const wanted = its.heap.size_classes.map(({ size, pools, used, free }) => [`blocks of ${size} bytes`, `${number(pools)} pools, ${number(used)} blocks in use, ${number(free)} free`]);
    look.expect('size classes', told, wanted);
    const sign = (value) => `${value > 0 ? '+' : value < 0 ? '−' : '±'}${number(Math.abs(value))}`;
    const types = Object.fromEntries(its.heap.types.map(({ name, count, more, trend }) => [name, [number(count), sign(more), trend ?? '']]));
    const shown = await texts('#census-table');
    look.expect('how many types', shown.length, Math.min(its.heap.types.length, 500));
    for (const [name, count, more, , , over] of shown) look.expect(`objects of ${name}`, [count, more, over.split(' ')[1]], types[name]);
    // By keyboard: cells of the last column are read out, some arena of which is there; and a span is chosen.
    await page.locator('#arenas-chart').focus();
    for (let n = 0; n < 40; n++) await page.keyboard.press('ArrowRight');
    const said = [];
    for (let n = 0; n < arenas.length; n++) {
        said.push(await look.status('arenas'));
        await page.keyboard.press('ArrowDown');
    }
    if (!said.some((text) => /^arena 0x[0-9a-f]+, pools? [0-9-]+ at .*: (mostly )?blocks of \d+ bytes, .* % full \(.* of .*\);/.test(text))) look.wrong.push(`no arena is read out: ${said.slice(0, 3)}`);
    await page.locator('#classes-chart').focus();
    for (const key of ['ArrowRight', 'Enter', 'ArrowRight', 'Enter']) await page.keyboard.press(key);
    if (!/^blocks of \d+ bytes at .* pools, .* free/.test(await look.status('classes'))) look.wrong.push(`the focused size is not read out: ${await look.status('classes')}`);
    if ((await page.textContent('#span')).startsWith('All')) look.wrong.push('the map of sizes chooses no span');
    for (const colour of ['growth', 'freed', 'filled']) await page.selectOption('#heap-colour', colour);
    await page.keyboard.press('Escape');
}


/** What the heap and its types are beside a baseline, until that is no longer what is compared. */
async function beside(look) {
    const { page, its } = look;
    const shown = async () => {
        await look.settled();
        const rows = (table) => page.$$eval(`${table} tbody tr`, (rows) => rows.map((row) => [...row.children].map((cell) => cell.textContent)));
        return { counted: await rows('#heap-beside'), types: await rows('#census-table') };
    };
    look.expect('beside the baseline', await shown(), its.beside);
    await look.click('#unpin');
    const { types, counted } = await shown();
    look.expect('beside nothing', [counted.length, types[0].length], [0, 6]);
    await look.click('#rebase');
    look.expect('beside the baseline again', await shown(), its.beside);
}

/** Walks over the page as a reader does. */
async function walk(look) {
    const { page } = look;
    const whole = await look.sum();
    const flame = page.locator('#flame-chart');
    // By keyboard: down to the heaviest frame, zoom in, out again.
    await flame.focus();
    for (const key of ['ArrowDown', 'ArrowDown', 'ArrowRight', 'ArrowLeft']) await page.keyboard.press(key);
    const focused = await look.status('flame');
    if (!/: .*; own /.test(focused)) look.wrong.push(`the focused frame is not read out: ${focused}`);
    const said = [];
    for (let n = 0; n < 9; n++) {
        said.push(await look.status('flame'));
        await page.keyboard.press('ArrowDown');
    }
    if (look.its.source && !said.some((text) => text.endsWith(` · ${look.its.source}`))) look.wrong.push(`the line of source is not read out: ${said}`);
    await page.mouse.move(0, 0);
    await flame.dispatchEvent('pointerleave');
    for (const key of ['ArrowDown', 'Enter']) await page.keyboard.press(key);
    const level = () => page.$eval('#flame-chart', (canvas) => canvas.dataset.level);
    look.expect('zoomed in by a key', await level(), '1');
    await page.keyboard.press('Escape');
    look.expect('out again by a key', await level(), '0');
    // By pointer: the first box below the root, then the whole again.
    const box = await look.place(flame);
    await page.mouse.click(box.x + box.width / 3, box.y + 27);
    look.expect('zoomed in by a click', await level(), '1');
    await look.click('#zoom-out');
    look.expect('out again by a button', await level(), '0');
    // Search.
    const first = (await look.top())[0][0];
    await page.fill('#search', first.split(' (')[0]);
    await page.waitForFunction(() => document.querySelector('#flame-status').textContent.includes('matches:'));
    await look.tick('#only', true);
    const only = await look.folded();
    if (!only || !only.split('\n').every((line) => line.toLowerCase().includes(first.split(' (')[0].toLowerCase()))) look.wrong.push('only what matches: it does not');
    await look.tick('#only', false);
    await page.fill('#search', '');
    // Inside out, and back.
    await look.tick('#inverted', true);
    if (!(Math.abs((await look.sum()) - whole) <= 1)) look.wrong.push('inside out is another sum');
    await look.tick('#inverted', false);
    // The brush, by pointer: the middle half.
    const strip = page.locator('#overview-chart');
    const place = await look.place(strip);
    const x = (part) => place.x + 120 + part * (place.width - 128);
    await page.mouse.move(x(0.25), place.y + 20);
    await page.mouse.down();
    await page.mouse.move(x(0.75), place.y + 20, { steps: 4 });
    await page.mouse.up();
    const part = await look.sum();
    if (!(part > 0.2 * whole && part < 0.8 * whole)) look.wrong.push(`half of the time is ${part} of ${whole}`);
    await look.click('#pin');
    await look.click('#whole');
    if (!(await page.textContent('#against')).startsWith('compared with')) look.wrong.push('nothing is compared');
    await flame.focus();
    await page.keyboard.press('ArrowDown');
    if (!(await look.status('flame')).includes('beside the other')) look.wrong.push('a difference is not read out');
    await look.click('#unpin');
    // The brush, by keyboard.
    await strip.focus();
    await page.keyboard.press('ArrowRight');
    if (!((await look.sum()) < whole)) look.wrong.push('the arrow key did not brush');
    await page.keyboard.press('Escape');
    look.expect('all of the time again', await look.sum(), whole);
    // The heat map, by keyboard: a span of a few cells, and another one beside it.
    await page.locator('#heatmap-chart').focus();
    for (const key of ['ArrowRight', 'Enter', 'ArrowRight', 'ArrowRight', 'Enter', 'ArrowRight', 'b', 'ArrowRight', 'b']) await page.keyboard.press(key);
    if (!(await page.textContent('#against')).startsWith('compared with')) look.wrong.push('the heat map compares nothing');
    await page.keyboard.press('Escape');
    await look.click('#unpin');
    // The same by pointer: a second drag with shift.
    const heat = page.locator('#heatmap-chart');
    const cells = await look.place(heat);
    const dragged = async (from, to) => {
        await page.mouse.move(cells.x + 64 + from, cells.y + 20);
        await page.mouse.down();
        await page.mouse.move(cells.x + 64 + to, cells.y + 120, { steps: 3 });
        await page.mouse.up();
    };
    await dragged(0, 30);
    const chosen = await page.textContent('#span');
    await page.keyboard.down('Shift');
    await dragged(60, 100);
    await page.keyboard.up('Shift');
    look.expect('the second drag leaves the first span', await page.textContent('#span'), chosen);
    if (!(await page.textContent('#against')).startsWith('compared with')) look.wrong.push('a drag with shift compares nothing');
    await look.click('#unpin');
    await look.click('#whole');
    // What is pointed at in the map of arenas is read out.
    const arenas = page.locator('#arenas-chart');
    const map = await look.place(arenas);
    await page.mouse.move(map.x + map.width / 2, map.y + 6);
    if (!/^arena 0x[0-9a-f]+, pools? \d+.* at /.test(await look.status('arenas'))) look.wrong.push(`what is pointed at is not read out: ${await look.status('arenas')}`);
    // Every chart as a table.
    await look.unfold('details.text');
    for (const panel of ['overview', 'flame', 'heatmap', 'threads', 'gc', 'heap']) {
        const row = page.locator(`#${panel} details.text tbody tr`).first();
        await row.waitFor({ state: 'attached', timeout: 10_000 }).catch(() => look.wrong.push(`${panel} has no table`));
    }
    for (const [button, ends] of [['#save-speedscope', '.json'], ['#save-csv', '.csv']]) {
        const download = await look.saved(button);
        if (!download.suggestedFilename().endsWith(ends)) look.wrong.push(`${button} saves ${download.suggestedFilename()}`);
    }
}

async function open(its, scheme, wrong) {
    const context = await browser.newContext({ colorScheme: scheme, reducedMotion: 'reduce', viewport: { width: 1280, height: 900 }, bypassCSP: false });
    const page = await context.newPage();
    // A machine may be busy; what never comes still fails.
    page.setDefaultTimeout(120_000);
    const url = pathToFileURL(its.html).href;
    page.on('request', (request) => {
        if (request.url() !== url && !request.url().startsWith('blob:')) wrong.push(`it asks for ${request.url()}`);
    });
    page.on('pageerror', (error) => wrong.push(`it threw ${error}`));
    page.on('dialog', (dialog) => (wrong.push(`a script of a name ran: ${dialog.message()}`), dialog.dismiss()));
    page.on('console', (message) => message.type() === 'error' && wrong.push(`it logged ${message.text()}`));
    await page.goto(url);
    await page.waitForFunction(() => document.documentElement.dataset.ready);
    const ids = await page.$$eval('[id]', (all) => all.map((its) => its.id));
    if (new Set(ids).size < ids.length) wrong.push(`two elements are called ${ids.filter((id, n) => ids.indexOf(id) < n)}`);
    return [context, page];
}

let bad = 0;
for (const its of cases) {
    const wrong = [];
    try {
        // Colours make a difference to who looks at colours.
        for (const scheme of its.axe || its.shot ? ['light', 'dark'] : ['light']) {
            const [context, page] = await open(its, scheme, wrong);
            const look = new Look(page, its);
            if (scheme === 'light') {
                for (const id of its.panels ?? []) look.expect(`panel ${id}`, await page.locator(`section#${id}`).count(), 1);
                if (its.folded !== undefined) await numbers(look);
                for (const [metric, folded] of Object.entries(its.metrics ?? {})) {
                    await page.selectOption('#metric', metric);
                    look.expect(`folded stacks in ${metric}`, await look.folded(), sorted(folded));
                }
                for (const { keys, folded } of its.brushes ?? []) {
                    await page.locator('#overview-chart').focus();
                    for (const key of keys) await page.keyboard.press(key);
                    look.expect(`folded stacks after ${keys.length} keys`, await look.folded(), sorted(folded));
                }
                if (its.beside) await beside(look);
                if (its.heap) await memory(look);
                if (its.walk) await walk(look);
            }
            await look.settled();
            if (scheme === 'light') {
                const said = await page.textContent('body');
                for (const text of its.says ?? []) if (!said.includes(text)) look.wrong.push(`it does not say ${text}`);
            }
            if (its.axe) {
                await look.unfold('details');
                // The rows of a table are alike, and each costs.
                await page.evaluate(() => document.querySelectorAll('tbody tr:nth-child(n + 6)').forEach((row) => row.remove()));
                const cdp = await context.newCDPSession(page);
                await cdp.send('Page.setBypassCSP', { enabled: true });
                const { violations } = await page.evaluate(`${axe}; axe.run()`);
                for (const { id, nodes } of violations) look.wrong.push(`axe, ${scheme}: ${id} at ${nodes.map((node) => node.target).slice(0, 3).join(', ')}: ${nodes[0].failureSummary}`);
            }
            if (its.shot) {
                const cdp = await context.newCDPSession(page);
                const { cssContentSize: size } = await cdp.send('Page.getLayoutMetrics');
                const clip = { x: 0, y: 0, width: size.width, height: size.height, scale: 1 };
                const { data } = await cdp.send('Page.captureScreenshot', { format: 'webp', quality: 60, captureBeyondViewport: true, clip });
                writeFileSync(`${its.shot}-${scheme}.webp`, Buffer.from(data, 'base64'));
            }
            wrong.push(...look.wrong);
            await context.close();
        }
    } catch (error) {
        wrong.push(String(error));
    }
    console.log(`${wrong.length ? 'BAD ' : 'good'} ${its.name}`);
    wrong.forEach((what) => console.log(`     ${what}`));
    bad += wrong.length > 0;
}
await browser.close();
process.exitCode = bad ? 1 : 0;
