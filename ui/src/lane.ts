// A lane for each thread: what it was doing, over time.

import { STATES, YES } from './blob';
import { type Axis, LEFT, timeline } from './axis';
import { ink, STATE_COLOURS } from './colour';
import { asTable, h, panel, table } from './dom';
import type { State } from './state';
import { each, type Span } from './weigh';
import { percent, time } from './words';
import { floor, max, min } from './number';

const LANE = 18;
const COLLECTS = 5;
/** More threads than this are in the table alone. */
const MOST = 64;
const ANYTHING = { mode: 'wall', unit: 'time', idle: true, thread: -1, state: -1 } as const;
export const NAMES = [...STATES, 'collecting garbage'];

/** The time that a thread spent in each state, collecting garbage being one of them. */
export function states(state: State, thread: number, span: Span): Float64Array {
    const sums = new Float64Array(NAMES.length);
    const { recording } = state;
    each(recording, thread, span, ANYTHING, (row, weight) => {
        const packed = recording.state[row]!;
        sums[((packed >> 5) & 3) === YES ? COLLECTS : packed & 7]! += weight;
    });
    return sums;
}

export function lanes(state: State): HTMLElement {
    const { recording, whole } = state;
    const threads = recording.head.threads.map((_, n) => n).filter((n) => recording.head.threads[n]!.rows).slice(0, MOST);
    const doing = (row: number) => {
        const packed = recording.state[row]!;
        return ((packed >> 5) & 3) === YES ? COLLECTS : packed & 7;
    };
    const paint = (pen: CanvasRenderingContext2D, its: Axis, width: number) => {
        threads.forEach((thread, n) => {
            const y = n * LANE;
            pen.fillStyle = state.thread.now < 0 || state.thread.now === thread ? ink('ink') : ink('faint');
            pen.fillText(recording.head.threads[thread]!.name, 2, y + LANE / 2, LEFT - 6);
            // Of what shares a pixel, what took longest is shown.
            const pixels = max(width - LEFT, 1);
            const best = new Float64Array(pixels);
            const shown = new Int8Array(pixels).fill(-1);
            each(recording, thread, whole, ANYTHING, (row, _, from, until) => {
                const a = its.x(from) - LEFT;
                const b = its.x(until) - LEFT;
                for (let x = floor(a); x <= b && x < pixels; x++) {
                    const part = min(b, x + 1) - max(a, x);
                    if (part > best[x]!) {
                        best[x] = part;
                        shown[x] = doing(row);
                    }
                }
            });
            for (let x = 0; x < pixels; ) {
                let end = x + 1;
                while (end < pixels && shown[end] === shown[x]) end++;
                if (shown[x]! >= 0) {
                    pen.fillStyle = STATE_COLOURS[shown[x]!]!;
                    pen.fillRect(LEFT + x, y + 2, end - x, LANE - 4);
                }
                x = end;
            }
        });
    };
    const tell = (at: number, y: number) => {
        const thread = threads[floor(y / LANE)];
        if (thread === undefined) return;
        let says = `${recording.head.threads[thread]!.name} at ${time(at)}`;
        each(recording, thread, [at, at], ANYTHING, (row) => {
            const wait = recording.wait[row]!;
            says = `${recording.head.threads[thread]!.name} at ${time(at)}: ${STATES[recording.state[row]! & 7]}${wait ? ` (${recording.head.waits[wait - 1]})` : ''}`;
        });
        return says;
    };
    const chart = timeline(state, 'threads', 'Threads over time', threads.length * LANE, paint, tell, () => state.thread.now);
    const text = asTable(() => state.looked.now, () => {
        const rows = recording.head.threads.map((thread, n) => {
            const sums = states(state, n, state.looked.now);
            const all = sums.reduce((sum, value) => sum + value, 0);
            return [thread.name, ...Array.from(sums, (value) => [value, `${time(value)} (${percent(value, all)})`] as const)];
        });
        return table('What threads did in the span', ['Thread', ...NAMES], rows, -1, (row) => (state.thread.now = state.thread.now === row ? -1 : row));
    });
    const key = h('ul', { class: 'key', 'aria-label': 'Colours' }, ...NAMES.map((name, n) => {
        const spot = h('span', { class: 'spot' });
        spot.style.background = STATE_COLOURS[n]!;
        return h('li', {}, spot, name);
    }));
    return panel(
        'threads',
        'What threads did',
        chart.element,
        key,
        chart.status,
        text,
    );
}
