// What can be taken along: folded stacks, a speedscope profile, a table; each made in the page, of what it shows.

import { button, h, panel } from './dom';
import type { State } from './state';
import { path, spent, type Tree } from './tree';
import { each, threads } from './weigh';
import type { Metric } from './blob';
import { floor, max } from './number';

/** A frame as it may stand in a line of folded stacks, as `pitviper export -f folded` writes it. */
export function foldable(text: string): string {
    const plain = text.replaceAll(';', ',').trim();
    if (!plain) return '?';
    if (plain.startsWith('#')) return `_${plain}`;
    const last = plain.lastIndexOf(' ');
    const numeric = /^[+-]?(\d+\.?\d*(e[+-]?\d+)?|\.\d+(e[+-]?\d+)?|inf|infinity|nan)$/i;
    return last >= 0 && numeric.test(plain.slice(last + 1)) ? `${plain.slice(0, last)}_${plain.slice(last + 1)}` : plain;
}

/** Folded stacks, in whole microseconds or samples. */
export function folded(tree: Tree, metric: Metric): string {
    const lines: string[] = [];
    for (let node = 0; node < tree.own.length; node++) {
        const own = tree.own[node]!;
        if (!own) continue;
        const whole = max(metric === 'time' ? floor((own + 500) / 1000) : own, 1);
        lines.push(`${path(tree, node).map((label) => foldable(tree.shape.labels.text[label]!)).join(';')} ${whole}`);
    }
    return lines.sort().map((line) => `${line}\n`).join('');
}

/** A profile for speedscope: one for each thread, with nothing where nothing was seen. */
export function speedscope(state: State): string {
    const { recording, labels } = state;
    const { shape, places } = state.grouped.now;
    const filter = state.wanted.now;
    const span = state.looked.now;
    const frames = labels.text.map((_, n) => ({ name: labels.name[n]!, ...(labels.file[n] ? { file: labels.file[n] } : {}) }));
    const profiles = threads(recording, filter).map((thread) => {
        const samples: number[][] = [];
        const weights: number[] = [];
        let at = span[0];
        each(recording, thread, span, { ...filter, unit: 'time' }, (row, _, from, until) => {
            const stack: number[] = [];
            for (let node = places[0]![row]!; node >= 0; node = shape.parent[node]!) stack.push(shape.label[node]!);
            if (from > at) {
                samples.push([]);
                weights.push(from - at);
            }
            samples.push(stack.reverse());
            weights.push(until - from);
            at = until;
        });
        if (at < span[1]) {
            samples.push([]);
            weights.push(span[1] - at);
        }
        return { type: 'sampled', name: recording.head.threads[thread]!.name, unit: 'nanoseconds', startValue: span[0], endValue: span[1], samples, weights };
    });
    const name = recording.head.title;
    return JSON.stringify({ $schema: 'https://www.speedscope.app/file-format-schema.json', exporter: 'pitviper', name, shared: { frames }, profiles });
}

/** The table of frames, for spreadsheets. What one would take for a formula gets an apostrophe in front. */
export function csv(tree: Tree): string {
    const cell = (text: string) => `"${/^[=+\-@]/.test(text) ? "'" : ''}${text.replaceAll('"', '""')}"`;
    const rows = spent(tree).sort((a, b) => b.own - a.own);
    return ['frame,own,total', ...rows.map((row) => `${cell(tree.shape.labels.text[row.label]!)},${row.own},${row.total}`)].join('\n') + '\n';
}

function save(name: string, type: string, text: string): void {
    const link = h('a', { download: name, href: URL.createObjectURL(new Blob([text], { type })) });
    link.click();
    // A browser that asks where to, or is busy, begins to read later.
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

export function downloads(state: State): HTMLElement {
    return panel(
        'downloads',
        'Take it along',
        h(
            'p',
            { class: 'group' },
            button('Folded stacks', 'save-folded', () => save('profile.folded', 'text/plain', folded(state.tree.now, state.unit.now))),
            button('speedscope profile', 'save-speedscope', () => save('profile.speedscope.json', 'application/json', speedscope(state))),
            button('Table of frames (CSV)', 'save-csv', () => save('profile.csv', 'text/csv', csv(state.tree.now))),
        ),
    );
}
