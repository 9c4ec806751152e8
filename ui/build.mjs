// Builds the page into one file: `node build.mjs [OUT]`, dist/report.html by default.

import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

/** What the program may weigh; the words of the page and what it looks like come on top. */
const MOST_BYTES = 40 * 1024;
/** Names of our own that are neither the browser's nor the data's: they are made short. */
const OWN =
    /^(recording|baseline|labels|grouped|groupedBaseline|hideImports|hideLibraries|inverted|onlyMatching|search|whole|against|zoom|tree|parents|begin|until|weight|cpu|count|state|wait|label|own|total|before|sum|sumBefore|ownBefore|totalBefore|place|children|parent|pen|status|canvas|element|shownHeight|collected|uncollectable|collections|pause|cells|columns|period|most|hue|rank|adopt|matching|look|say|doing|text|file|depth|renew|number|beside|bytes|known|order|colour|now|head|lookers|looker|stale|told|slots|families|family|added|both|shape|places|high|below|wholly|says|over|room|used|since|peek|sorted|tell|make|run|matches|node|size|search|unit|amounts|held|looked|rooted|wanted|first|rest|thread|its|source)$/;
const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, 'dist', 'report.html');

const bundled = async (entry, options = {}) => {
    const result = await build({ entryPoints: [join(here, 'src', entry)], bundle: true, minify: true, write: false, charset: 'utf8', legalComments: 'none', ...options });
    return result.outputFiles[0].text.trim();
};
const hash = (text) => `sha256-${createHash('sha256').update(text).digest('base64')}`;

const js = await bundled('main.ts', { target: 'es2022', format: 'iife', mangleProps: OWN });
const css = await bundled('style.css', { loader: { '.css': 'css' } });
if (js.includes('</script') || js.includes('<!--')) throw new Error('the script would end the element that it lies in');
const page = readFileSync(join(here, 'src', 'report.html'), 'utf8')
    .replace('%SCRIPT%', () => hash(js))
    .replace('%STYLE%', () => hash(css))
    .replace('%CSS%', () => css)
    .replace('%JS%', () => js);
const size = Buffer.byteLength(js);
if (size > MOST_BYTES) throw new Error(`the script is ${size} bytes; ${MOST_BYTES} are the most`);
writeFileSync(out, page);
console.log(`${out}: ${Buffer.byteLength(page)} bytes, ${size} of them script`);
