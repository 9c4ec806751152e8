// The page: reads the data that lies in it and puts the panels together.

import { load } from './blob';
import { census } from './census';
import { controls } from './control';
import { h } from './dom';
import { downloads } from './download';
import { flame } from './flame';
import { collector } from './gc';
import { header } from './header';
import { heatmap } from './heatmap';
import { heaps } from './heap';
import { lanes } from './lane';
import { overview } from './overview';
import { State } from './state';
import { top } from './top';

async function main(): Promise<void> {
    const recording = await load('data');
    if (!recording) throw new Error('there is no data in this page');
    const baseline = await load('baseline');
    performance.mark('parsed');
    const state = new State(recording, baseline);
    const place = h('main');
    document.body.replaceChildren(header(state), controls(state), place);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => state.theme.now++);
    // What one looks at first is drawn first, and stands second.
    place.append(flame(state));
    await frame();
    performance.mark('drawn');
    place.prepend(overview(state));
    // What a recording does not tell of has no panel.
    for (const panel of [heatmap, lanes, collector, heaps, census, top, downloads]) place.append(...[panel(state)].filter((its) => its !== null));
    await frame();
    document.documentElement.dataset.ready = 'yes';
}

/** Resolves when what there is has been drawn: charts are, when they have got a place. */
function frame(): Promise<void> {
    return new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
}

main().catch((error: unknown) => {
    document.documentElement.dataset.ready = 'no';
    document.body.replaceChildren(h('main', {}, h('h1', {}, 'This report cannot be shown'), h('p', {}, String(error))));
});
