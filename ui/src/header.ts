// What was recorded, how good it is, and what to know before believing it.

import type { Recording } from './blob';
import { button, h } from './dom';
import type { State } from './state';

function facts(recording: Recording): HTMLElement {
    const { head } = recording;
    const list = h('dl', { class: 'facts' });
    const fact = (name: string, value: string) => list.append(h('div', {}, h('dt', {}, name), h('dd', {}, value)));
    head.processes.slice(0, 8).forEach((process) => {
        fact(`Process ${process.pid}`, `${process.command}: Python ${process.python}${process.build && ` (${process.build})`}`);
    });
    if (head.processes.length > 8) fact('More processes', String(head.processes.length - 8));
    head.facts.forEach(([name, value]) => fact(name, value));
    return list;
}

function warnings(recording: Recording): HTMLElement[] {
    const { warnings } = recording.head;
    if (!warnings.length) return [];
    return [h('ul', { class: 'warnings', 'aria-label': 'Warnings' }, ...warnings.map((text) => h('li', {}, text)))];
}

export function header(state: State): HTMLElement {
    const { recording, baseline } = state;
    document.title = `${recording.head.title} · pitviper`;
    const parts: HTMLElement[] = [
        h('div', { class: 'bar' }, h('h1', {}, recording.head.title), button('Light or dark', 'theme', () => turn(state))),
        ...warnings(recording),
        h('details', { open: '' }, h('summary', {}, 'What was recorded, and how well'), facts(recording)),
    ];
    if (baseline) {
        parts.push(
            h('details', {}, h('summary', {}, `Compared with: ${baseline.head.title}`), ...warnings(baseline), facts(baseline)),
        );
    }
    return h('header', {}, ...parts);
}

function turn(state: State): void {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
    root.dataset.theme = dark ? 'light' : 'dark';
    state.theme.now++;
}
