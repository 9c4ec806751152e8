// Opens the page of a large recording (tests/report.rs makes it) in a headless Chromium and prints what it costs; called by
// `scripts/ui scale`. It fails where the page is too large or too slow.

import { statSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

const MOST = { 'page, MiB': 12, 'first flame graph after the data was read, ms': 500, 'brush, 95th percentile, ms': 60, 'memory, MiB': 150 };
const file = process.argv[2];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ['--no-sandbox', '--enable-precise-memory-info', '--js-flags=--expose-gc'] });
const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
await page.goto(pathToFileURL(file).href);
await page.waitForFunction(() => document.documentElement.dataset.ready, null, { timeout: 120_000 });
const seen = await page.evaluate(() => {
    const at = (name) => performance.getEntriesByName(name)[0].startTime;
    const strip = document.querySelector('#overview-chart');
    const press = (key, shiftKey = false) => {
        const before = performance.now();
        strip.dispatchEvent(new KeyboardEvent('keydown', { key, shiftKey }));
        return performance.now() - before;
    };
    for (let n = 0; n < 16; n++) press('ArrowRight');
    const times = [];
    for (let n = 0; n < 16; n++) times.push(press('ArrowLeft'));
    for (let n = 0; n < 16; n++) times.push(press('ArrowRight'));
    times.sort((a, b) => a - b);
    globalThis.gc?.();
    const says = [...document.querySelectorAll('.facts div')].map((fact) => fact.innerText.replace('\n', ': ')).filter((text) => /^(Samples|Changes|Summed)/.test(text));
    return { says: says.join(', '), read: at('parsed'), drawn: at('drawn') - at('parsed'), half: times[16], most: times[30], memory: performance.memory.usedJSHeapSize };
});
await browser.close();
const figures = {
    'page, MiB': statSync(file).size / 2 ** 20,
    'data read, ms': seen.read,
    'first flame graph after the data was read, ms': seen.drawn,
    'brush, median, ms': seen.half,
    'brush, 95th percentile, ms': seen.most,
    'memory, MiB': seen.memory / 2 ** 20,
};
console.log(`${seen.says}, and as many changes of the heap; the brush looks at a fifth of it`);
for (const [name, value] of Object.entries(figures)) {
    const over = value > (MOST[name] ?? Infinity);
    console.log(`${over ? 'OVER' : 'good'} ${name}: ${value.toFixed(1)}${MOST[name] ? ` (at most ${MOST[name]})` : ''}`);
    if (over) process.exitCode = 1;
}
