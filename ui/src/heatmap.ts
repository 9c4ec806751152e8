// The sub-second heat map: a column for each period, a row for each part of it, so that what happens again and again becomes a line.

import { computed } from './signal';
import { heat, ink } from './colour';
import { asTable, type Cell, panel, table } from './dom';
import { grid } from './grid';
import type { Recording } from './blob';
import type { State } from './state';
import { each, threads, type Filter, type Span } from './weigh';
import { time, weight } from './words';
import { ceil, floor, max, min, round } from './number';

const ROWS = 50;
const PERIODS = [1e6, 1e7, 1e8, 1e9, 1e10, 6e10, 6e11, 3.6e12, 3.6e13];
const FEWEST = 12;
const MOST = 4_000;
const CELL = 4;
const LEFT = 60;

export interface Heat {
    period: number;
    columns: number;
    cells: Float64Array;
    most: number;
}

/** The period that makes enough columns and not too many. */
export function period(long: number): number {
    const fits = PERIODS.filter((size) => long / size >= FEWEST && long / size <= MOST);
    return fits.at(-1) ?? PERIODS.find((size) => long / size <= MOST) ?? long;
}

export function heatOf(recording: Recording, filter: Filter, span: Span): Heat {
    const size = period(span[1] - span[0]);
    const columns = max(ceil((span[1] - span[0]) / size), 1);
    const cells = new Float64Array(columns * ROWS);
    const cell = size / ROWS;
    const last = cells.length - 1;
    for (const thread of threads(recording, filter)) {
        each(recording, thread, span, filter, (_, weight, from, until) => {
            const a = (from - span[0]) / cell;
            const b = (until - span[0]) / cell;
            const first = min(floor(a), last);
            const end = min(floor(b), last);
            if (first === end) cells[first]! += weight;
            else for (let n = first; n <= end; n++) cells[n]! += (weight * max(min(b, n + 1) - max(a, n), 0)) / (b - a);
        });
    }
    let most = 0;
    for (const value of cells) most = max(most, value);
    return { period: size, columns, cells, most };
}

export function heatmap(state: State): HTMLElement {
    const [begin, end] = state.whole;
    // Memory has no time: then time is what is seen.
    const unit = () => (state.unit.now === 'samples' ? 'samples' : 'time');
    const heats = computed(() => heatOf(state.recording, { ...state.wanted.now, unit: unit() }, state.whole));
    const startOf = (cell: number) => begin + (cell * heats.now.period) / ROWS;
    const chart = grid(state, 'heatmap', 'Heat map', () => {
        const { period, columns, cells, most } = heats.now;
        const span = (first: number, last: number): Span => [round(min(startOf(first), end)), round(min(startOf(last + 1), end))];
        return {
            rows: ROWS,
            columns,
            high: CELL,
            below: 2,
            wholly: false,
            colour: (cell) => (cells[cell] ? heat(cells[cell]! / most) : null),
            place: (width) => [LEFT, max(min((width - LEFT - 8) / columns, 24), 0.05)],
            span,
            says: (cell) =>
                cell < 0
                    ? `A column is ${time(period)}, a cell ${time(period / ROWS)}`
                    : `From ${time(startOf(cell))} to ${time(startOf(cell + 1))}: ${weight(cells[cell]!, unit())}`,
            over(pen, _, outline) {
                pen.fillStyle = ink('faint');
                [0, 0.5, 1].forEach((part) => pen.fillText(part ? time(period * part) : '0', 2, min(max(2 + part * ROWS * CELL, 8), ROWS * CELL - 4)));
                const around = (span: Span, colour: string) => outline(((span[0] - begin) / period) * ROWS, ((span[1] - begin) / period) * ROWS, colour);
                const looked = state.looked.now;
                if (looked[1] - looked[0] < end - begin) around(looked, ink('focus'));
                const against = state.against.now;
                if (against && against !== 'baseline') around(against, ink('other'));
            },
        };
    });
    const text = asTable(() => heats.now, () => {
        const { columns, cells, period } = heats.now;
        const rows = Array.from({ length: columns }, (_, column): Cell[] => {
            const part = cells.subarray(column * ROWS, (column + 1) * ROWS);
            const sum = part.reduce((sum, value) => sum + value, 0);
            const busiest = part.reduce((best, value, n) => (value > part[best]! ? n : best), 0);
            const at = startOf(column * ROWS);
            return [
                [at, time(at)],
                [sum, weight(sum, unit())],
                [busiest, sum ? time((busiest * period) / ROWS) : ''],
            ];
        });
        return table('Weight of each column', ['From', 'Weight', 'Busiest after'], rows);
    });
    return panel(
        'heatmap',
        'When it happens',
        chart.element,
        chart.status,
        text,
    );
}
