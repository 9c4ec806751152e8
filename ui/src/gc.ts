// The collector: a lane for each generation, what it cost, and which functions set it off.

import type { Collection, Recording } from './blob';
import { type Axis, beside, LEFT, stairs, timeline } from './axis';
import { ink, STATE_COLOURS } from './colour';
import { asTable, atRest, type Cell, h, panel, table } from './dom';
import type { State } from './state';
import type { Span } from './weigh';
import { percent, time, whole as number } from './words';
import { abs, ceil, floor, max, min } from './number';

const LANE = 26;
const GENERATIONS = [0, 1, 2];
const NAMES = ['young (0)', 'middle (1)', 'old (2)'];

export interface Work {
    collections: number;
    collected: number;
    uncollectable: number;
    pause: number;
}

/** The collections that ended in a span of time. */
export function within(recording: Recording, span: Span): Collection[] {
    return recording.head.gc.filter((row) => span[0] < row[4] && row[4] <= span[1]);
}

export function work(rows: Collection[]): Work {
    const sum = { collections: 0, collected: 0, uncollectable: 0, pause: 0 };
    for (const row of rows) {
        sum.collections += row[7];
        sum.collected += row[8];
        sum.uncollectable += row[9];
        sum.pause += row[5];
    }
    return sum;
}

/** The time that this share of all collections did not exceed. Where no time is exact, one that no look met took next to none. */
export function percentile(rows: Collection[], share: number): number {
    const exact = rows.some((row) => row[6] === 'exact');
    const each = rows.flatMap((row): [number, number][] => (exact ? [[floor(row[5] / (row[7] || 1)), row[7]]] : [[row[5], min(row[7], 1)], [0, row[7] - 1]]));
    each.sort((a, b) => a[0] - b[0]);
    let rank = max(ceil(work(rows).collections * share), 1);
    for (const [pause, count] of each) if ((rank -= max(count, 0)) <= 0) return pause;
    return 0;
}

export function collector(state: State): HTMLElement | null {
    const { recording, whole } = state;
    const { head } = recording;
    const counter = (what: string) => head.counters.find((it) => it.name === `gc: ${what}` && it.at.length > 0);
    if (!head.gc.length && !head.counters.some((it) => it.name.startsWith('gc'))) return null;
    const objects = counter('tracked objects') ?? counter('long-lived objects');
    const height = GENERATIONS.length * LANE + (objects ? 2 * LANE : 0);
    const paint = (pen: CanvasRenderingContext2D, its: Axis, width: number) => {
        for (const generation of GENERATIONS) {
            const y = generation * LANE;
            const threshold = counter(`threshold ${generation}`)?.value.at(-1);
            beside(pen, y, NAMES[generation]!, threshold === undefined ? '' : `threshold ${threshold}`);
            pen.fillRect(LEFT, y + LANE - 1, width - LEFT, 1);
        }
        for (const row of head.gc) {
            pen.fillStyle = row[9] ? STATE_COLOURS[3]! : STATE_COLOURS[5]!;
            pen.fillRect(its.x(row[3]), row[2] * LANE + 3, max(its.x(row[4]) - its.x(row[3]), 1.5), LANE - 6);
        }
        if (objects) {
            const y = GENERATIONS.length * LANE;
            const most = max(1, ...objects.value);
            beside(pen, y, objects.name.replace('gc: ', ''), `up to ${number(most)}`);
            pen.strokeStyle = ink('ink');
            pen.lineWidth = 1.5;
            stairs(pen, its, objects, whole[1], (value) => y + 2 * LANE - 3 - (value / most) * (2 * LANE - 8));
        }
    };
    const tell = (at: number, y: number) => {
        const near = head.gc.filter((row) => row[2] === floor(y / LANE));
        const nearest = near.reduce<Collection | null>((best, row) => (!best || abs(row[4] - at) < abs(best[4] - at) ? row : best), null);
        return nearest ? says(state, nearest) : undefined;
    };
    const chart = timeline(state, 'gc', 'Collections over time', height, paint, tell);
    const tables = h('div', { class: 'tables' });
    atRest(tables, () => state.looked.now, () => {
        const rows = within(recording, state.looked.now);
        const long = state.looked.now[1] - state.looked.now[0];
        const all = work(rows);
        const cell = (value: number, text = number(value)): Cell => [value, text];
        const figures = (name: string, its: Collection[]): Cell[] => {
            const { collections, collected, uncollectable, pause } = work(its);
            const times = [pause, ...[0.5, 0.95, 1].map((share) => percentile(its, share))];
            return [name, ...[collections, collected, uncollectable].map((count) => cell(count)), ...times.map((ns) => cell(ns, time(ns))), cell(pause, percent(pause, long))];
        };
        const columns = ['Generation', 'Collections', 'Freed', 'Not to be freed', 'Time', 'Median', '95 % below', 'Longest', 'Of the span'];
        const sums = table(`What each generation did in the span; for ${percent(long - all.pause, long)} of it nothing was collected`, columns,
            [...NAMES.map((name, generation) => figures(name, rows.filter((row) => row[2] === generation))), figures('all', rows)]);
        sums.id = 'gc-work';
        tables.replaceChildren(sums, triggers(state, rows));
    });
    const text = asTable(() => state.looked.now, () => {
        const rows = within(recording, state.looked.now).map((row): Cell[] => [
            [row[3], time(row[3])],
            [row[2], number(row[2])],
            [row[5], time(row[5])],
            row[6],
            [row[7], number(row[7])],
            [row[8], number(row[8])],
            [row[9], number(row[9])],
        ]);
        return table('Collections in the span', ['At', 'Generation', 'Time', 'Known', 'Collections', 'Freed', 'Not to be freed'], rows);
    });
    return panel(
        'gc',
        'When garbage was collected',
        chart.element,
        chart.status,
        tables,
        text,
    );
}

function trigger(state: State, node: number): string {
    const { recording, labels } = state;
    return labels.text[recording.head.groups.by.function[recording.rows[node]!]!]!;
}

function says(state: State, row: Collection): string {
    const where = row[12] === null ? '' : `, set off by ${trigger(state, row[12])}`;
    return `Generation ${row[2]} at ${time(row[3])}: ${time(row[5])} (${row[6]}), ${number(row[8])} freed${row[9] ? `, ${number(row[9])} not to be freed` : ''}${where}`;
}

/** Which functions set collections off. */
function triggers(state: State, rows: Collection[]): HTMLElement {
    const by = new Map<string, Collection[]>();
    for (const row of rows) {
        if (row[12] === null) continue;
        const name = trigger(state, row[12]);
        by.set(name, [...(by.get(name) ?? []), row]);
    }
    const cells = [...by].map(([name, its]): Cell[] => {
        const of = work(its);
        return [name, [of.collections, number(of.collections)], [of.pause, time(of.pause)]];
    });
    return table('What set them off, as far as it was met', ['Function', 'Collections', 'Time'], cells, 2);
}
