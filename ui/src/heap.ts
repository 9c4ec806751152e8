// The heap over time: a row for each arena, or each pool, by address, with nothing between them, and a row for each size class.

import { signal } from './signal';
import { AXIS, axis, marks, shade, valueAt } from './axis';
import type { Head, Heap, Matrix } from './blob';
import { versus } from './census';
import { choice } from './control';
import { heat, ink, mixed } from './colour';
import { asTable, atRest, type Cell, h, panel, table } from './dom';
import { grid, TOP } from './grid';
import type { State } from './state';
import type { Span } from './weigh';
import { bytes, more, percent, time, whole as number } from './words';
import { abs, floor, max, min, round } from './number';

/** Pixels that rows share. */
const HIGH = 512;
const LOOKS = [['filled', 'how full it is'], ['growth', 'what came and went'], ['freed', 'what was freed later']] as const;
type Looks = (typeof LOOKS)[number][0];
const MEANS: Record<Looks, string> = { filled: 'bright is full', growth: 'orange came, blue went', freed: 'blue stays, grey was freed' };

/** Rows of memory over time: what there is room for and what of it is in use, in bytes. */
interface Memory {
    name(row: number): string;
    room: Matrix;
    used: Matrix;
    /** What else is known of a cell. */
    more(cell: number): string;
}

/** The bytes that a cell has in use and that are in use all the time up to the end of a column. */
export function kept(used: Matrix, rows: number, end: number): Matrix {
    const out = used.slice();
    for (let cell = min((end + 1) * rows, out.length) - rows - 1; cell >= 0; cell--) out[cell] = min(out[cell]!, out[cell + rows]!);
    return out;
}

/** The columns in which a span of time begins and ends. */
export function columns(times: number[], span: Span): [number, number] {
    const at = (moment: number) => {
        const column = times.findIndex((time) => time >= moment);
        return column < 0 ? times.length - 1 : column;
    };
    return [at(span[0]), at(span[1])];
}

const hex = (address: number) => `0x${address.toString(16)}`;

/** Addresses, and size classes. What was not looked at yet counts as pools that are in use: that is the most that it can be. */
export function memories(heap: Heap, [arenas, pooled, used, blocks, pools, busy, free]: Matrix[]): [Memory, Memory] {
    const inBytes = (blocks: Matrix) => blocks.map((count, cell) => count * heap.sizes[cell % heap.sizes.length]!);
    const taken = inBytes(busy!);
    const spare = inBytes(free!);
    return [
        {
            name(row) {
                const [from, to, count, first = 0, pools, arena = from] = heap.arenas[row]!;
                if (count > 1) return `${count} arenas from ${hex(from)} to ${hex(to)}`;
                return `arena ${hex(arena)}${pools ? `, pool${pools > 1 ? `s ${first}-${first + pools - 1}` : ` ${first}`}` : ''}`;
            },
            room: arenas!,
            used: used!.map((bytes, cell) => (Number.isNaN(bytes) ? pooled![cell]! : bytes)),
            more(cell) {
                const its = heap.arenas[cell % heap.arenas.length]![4];
                const size = blocks![cell];
                const says = size ? `${its === 1 ? '' : 'mostly '}blocks of ${size} bytes` : its && 'no block in use';
                return [Number.isNaN(used![cell]) ? 'blocks not looked at yet' : says, its !== 1 && `${bytes(pooled![cell]!)} in pools`].filter((it) => it).join(', ');
            },
        },
        {
            name: (row) => `blocks of ${heap.sizes[row]} bytes`,
            room: taken.map((bytes, cell) => bytes + spare[cell]!),
            used: taken,
            more: (cell) => `${number(pools![cell]!)} pools, ${number(busy![cell]!)} blocks in use, ${number(free![cell]!)} free`,
        },
    ];
}

export function heaps(state: State): HTMLElement | null {
    const { recording, whole } = state;
    const { head } = recording;
    const shown = head.heaps.map((_, n) => n).filter((n) => head.heaps[n]!.times.length);
    if (!shown.length) return null;
    const which = signal(shown[0]!);
    const looks = signal<Looks>('filled');
    const all = head.heaps.map((heap, n) => memories(heap, recording.heaps[n]!));
    const chart = (id: string, title: string, kind: 0 | 1) => {
        const its = () => {
            const { times } = head.heaps[which.now]!;
            const memory = all[which.now]![kind];
            return { ...memory, times, rows: memory.room.length / times.length };
        };
        /** What is asked of the span of time that is looked at. */
        const spanned = () => {
            const { times, rows, used } = its();
            const [first, last] = columns(times, state.looked.now);
            return { last, since: (cell: number) => used[cell]! - used[first * rows + (cell % rows)]! };
        };
        /** The colours of cells; where it may, it does not look at the span, for then a brush paints nothing anew. */
        const coloured = (): ((cell: number) => readonly number[]) => {
            const { rows, room, used } = its();
            if (looks.now === 'filled') return (cell) => heat(used[cell]! / room[cell]!);
            const { last, since } = spanned();
            if (looks.now === 'growth') {
                const most = used.reduce((most, _, cell) => max(most, abs(since(cell))), 1);
                return (cell) => mixed(Math.sign(since(cell)) * Math.sqrt(abs(since(cell)) / most));
            }
            const still = kept(used, rows, last);
            return (cell) => freed(1 - still[cell]! / used[cell]!);
        };
        const map = grid(state, id, title, () => {
            const { times, rows, room, used, name, more: also } = its();
            const long = times.length > 1 ? times[1]! - times[0]! : times[0]! - whole[0];
            const start = times[0]! - long;
            const colour = coloured();
            const high = min(max(floor(HIGH / rows), 1), 12);
            return {
                rows,
                columns: times.length,
                high,
                below: AXIS + TOP,
                wholly: true,
                colour: (cell) => (room[cell] ? colour(cell) : null),
                place(width) {
                    const { x } = axis(whole, width);
                    return [x(start), (x(times.at(-1)!) - x(start)) / times.length];
                },
                span: (from, to) => [max(round(times[floor(from / rows)]! - long), whole[0]), times[floor(to / rows)]!],
                says(cell) {
                    if (cell < 0) return `${number(rows)} rows, from ${name(0)} to ${name(rows - 1)}; ${MEANS[looks.now]}`;
                    const { last, since } = spanned();
                    const at = `${name(cell % rows)} at ${time(times[floor(cell / rows)]!)}: `;
                    if (!room[cell]) return `${at}not there`;
                    const still = kept(used, rows, last);
                    return `${at}${also(cell)}, ${percent(used[cell]!, room[cell]!)} full (${bytes(used[cell]!)} of ${bytes(room[cell]!)}); ${more(since(cell), bytes)} since the span began, ${bytes(used[cell]! - still[cell]!)} freed before it ended`;
                },
                over(pen, width) {
                    const bottom = TOP + rows * high;
                    pen.fillStyle = ink('ink');
                    const label = (row: number, y: number) => pen.fillText(name(row).split(',')[0]!, 2, y, 112);
                    label(0, TOP + 8);
                    if (rows > 1) label(rows - 1, bottom - 6);
                    const across = axis(whole, width);
                    marks(pen, across, whole, width, bottom);
                    shade(pen, across, state, width, bottom);
                },
            };
        });
        const text = asTable(spanned, () => {
            const { rows, room, used, name, more: also } = its();
            const { last, since } = spanned();
            const cells = Array.from({ length: rows }, (_, row): Cell[] => {
                const cell = last * rows + row;
                const sized = (value: number, text = bytes(value)): Cell => [value, text];
                return [name(row), sized(room[cell]!), sized(used[cell]!), sized(used[cell]! / (room[cell]! || 1), percent(used[cell]!, room[cell]!)), sized(since(cell), more(since(cell), bytes)), room[cell] ? also(cell) : 'not there'];
            });
            return table(`${title} at the end of the span`, [title, 'Room', 'In use', 'Filled', 'Since the span began', 'Also'], cells);
        });
        return [h('h3', {}, title), map.element, map.status, text];
    };
    const compared = h('div', { id: 'heap-beside' });
    atRest(compared, () => [which.now, state.looked.now, state.against.now], () => {
        const theirs = state.against.now === 'baseline' && state.baseline!.head;
        const rows = theirs ? beside(head, theirs, head.heaps[which.now]!.process, state.looked.now[1]) : [];
        compared.replaceChildren(...(rows.length ? [table('The heap at the end of the span, beside the other recording', ['Counted', 'Here', 'There', 'Difference'], rows)] : []));
    });
    return panel(
        'heap',
        'Where small objects lie',
        h(
            'p',
            { class: 'group' },
            choice('Colour', 'heap-colour', looks, LOOKS),
            ...(shown.length > 1 ? [choice('Process', 'heap-process', which, shown.map((n) => [n, head.processes[head.heaps[n]!.process]?.name ?? ''] as const))] : []),
        ),
        compared,
        ...chart('arenas', 'Arenas by address', 0),
        ...chart('classes', 'Blocks by size', 1),
    );
}

/** What is counted of a heap, at a moment and at the end of the baseline. */
export function beside(its: Head, theirs: Head, process: number, moment: number): Cell[][] {
    const all = its.counters.filter((it) => it.process === process && !it.name.startsWith('gc'));
    return all.map((counter): Cell[] => {
        const { name } = counter;
        const [is, was] = [valueAt(counter, moment), valueAt(theirs.counters.find((it) => it.process === process && it.name === name), theirs.span[1])];
        const tell = name.endsWith('_bytes') ? bytes : number;
        const cell = (value?: number): Cell => [value ?? 0, value === undefined ? '?' : tell(value)];
        return [name.replace('_', ' '), cell(is), cell(was), versus(is, was, tell)];
    });
}

/** From blue, where all is still there, to grey, where all was freed. */
function freed(share: number): number[] {
    return [86, 180, 233].map((part, n) => round(part + ([176, 176, 176][n]! - part) * min(max(share || 0, 0), 1)));
}
