// The strip at the top: processors, the GIL, collections and what is counted in bytes, over all of the time; the brush for every panel.

import { effect } from './signal';
import { type Axis, beside, stairs, timeline, valueAt } from './axis';
import { STATE_COLOURS, ink } from './colour';
import { asTable, type Cell, panel, table } from './dom';
import type { State } from './state';
import { each, type Filter, type Span } from './weigh';
import type { Recording } from './blob';
import { bytes, percent, time } from './words';
import { floor, max, min } from './number';

const LANE = 34;
const BINS = 240;

/** How much of what counts falls into each of equal parts of a span of time. */
export function binned(recording: Recording, threads: number[], span: Span, filter: Filter, bins: number): Float64Array {
    const sums = new Float64Array(bins);
    const long = max(span[1] - span[0], 1);
    for (const thread of threads) {
        each(recording, thread, span, filter, (_, weight, from, until) => {
            const a = ((from - span[0]) / long) * bins;
            const b = ((until - span[0]) / long) * bins;
            const first = min(floor(a), bins - 1);
            const last = min(floor(b), bins - 1);
            if (first === last) sums[first]! += weight;
            else for (let n = first; n <= last; n++) sums[n]! += (weight * max(min(b, n + 1) - max(a, n), 0)) / (b - a);
        });
    }
    return sums;
}

export function overview(state: State): HTMLElement {
    const { recording, whole } = state;
    const { head } = recording;
    const all = head.threads.map((_, n) => n);
    const of = (mode: Filter['mode']): Filter => ({ mode, unit: 'time', idle: true, thread: -1, state: -1 });
    const bin = max(whole[1] - whole[0], 1) / BINS;
    const shares = (mode: Filter['mode']) => binned(recording, all, whole, of(mode), BINS).map((sum) => sum / bin);
    const lanes = [
        { name: 'Processors', values: shares('cpu'), colour: STATE_COLOURS[1]! },
        { name: 'GIL held', values: shares('gil'), colour: STATE_COLOURS[2]! },
    ];
    const memory = head.counters.filter((counter) => counter.name.endsWith('_bytes') && counter.at.length > 0);
    const paint = (pen: CanvasRenderingContext2D, its: Axis) => {
        let y = 0;
        for (const lane of lanes) {
            const most = max(1, ...lane.values);
            beside(pen, y, lane.name, most > 1.005 ? `up to ${percent(most, 1)}` : 'up to 100 %');
            pen.fillStyle = lane.colour;
            lane.values.forEach((value, n) => {
                const [a, b] = [its.x(whole[0] + n * bin), its.x(whole[0] + (n + 1) * bin)];
                const high = (value / most) * (LANE - 4);
                pen.fillRect(a, y + LANE - 2 - high, b - a, high);
            });
            y += LANE;
        }
        for (const counter of memory) {
            const most = max(1, ...counter.value);
            beside(pen, y, counter.name.replace(/_bytes$/, ''), `up to ${bytes(most)}`);
            pen.strokeStyle = ink('ink');
            pen.lineWidth = 1.5;
            const ground = y + LANE - 2;
            stairs(pen, its, counter, whole[1], (value) => ground - (value / most) * (LANE - 4));
            y += LANE;
        }
        beside(pen, y, 'Collections', `${head.gc.length} rows`);
        for (const row of head.gc) {
            pen.fillStyle = STATE_COLOURS[5]!;
            const high = 8 + row[2] * 9;
            pen.fillRect(its.x(row[3]), y + LANE - 2 - high, max(its.x(row[4]) - its.x(row[3]), 1), high);
        }
    };
    const chart = timeline(state, 'overview', 'Overview over time', (lanes.length + memory.length + 1) * LANE, paint, () => undefined);
    effect(() => {
        const [from, to] = state.looked.now;
        chart.say(`Looking at ${time(from)} to ${time(to)}`);
    });
    const text = asTable(() => 0, () => {
        const rows = Array.from({ length: 24 }, (_, n): Cell[] => {
            const part = (values: Float64Array) => values.slice(n * 10, n * 10 + 10).reduce((sum, value) => sum + value / 10, 0);
            const cells = lanes.map((lane): Cell => [part(lane.values), percent(part(lane.values), 1)]);
            const end = whole[0] + (n + 1) * 10 * bin;
            const held = memory.map((counter): Cell => {
                const value = valueAt(counter, end);
                return value === undefined ? [0, ''] : [value, bytes(value)];
            });
            return [[n, time(whole[0] + n * 10 * bin)], ...cells, ...held];
        });
        const columns = ['From', ...lanes.map((lane) => lane.name), ...memory.map((counter) => counter.name)];
        return table('Processors and GIL over time', columns, rows);
    });
    return panel(
        'overview',
        'All of the time',
        chart.element,
        chart.status,
        text,
    );
}
