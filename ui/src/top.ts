// The table of frames: what each spent itself, and with all that it called.

import { atRest, type Cell, h, panel, table } from './dom';
import type { State } from './state';
import { spent } from './tree';
import { change, percent, weight } from './words';

export function top(state: State): HTMLElement {
    const place = h('div', { id: 'top-table' });
    const draw = () => {
        const tree = state.tree.now;
        const metric = state.unit.now;
        const rows = spent(tree);
        const columns = ['Frame', 'Own', 'Own share', 'Total', 'Total share', ...(tree.before ? ['Own change', 'Total change'] : [])];
        const cells = rows.map(({ label, own, ownBefore, total, totalBefore }): Cell[] => [
            tree.shape.labels.text[label]!,
            [own, weight(own, metric)],
            [own, percent(own, tree.sum)],
            [total, weight(total, metric)],
            [total, percent(total, tree.sum)],
            ...(tree.before ? [[own - ownBefore, change(own, ownBefore, tree.sum)] as const, [total - totalBefore, change(total, totalBefore, tree.sum)] as const] : []),
        ]);
        const pick = (row: number) => (state.search.now = tree.shape.labels.text[rows[row]!.label]!.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
        place.replaceChildren(table(`${rows.length} frames`, columns, cells, 1, pick));
    };
    atRest(place, () => state.tree.now, draw);
    return panel(
        'top',
        'What takes the time',
        place,
    );
}
