// The objects by type: how many there are, how many more, how that went from census to census, and how many the baseline had.

import type { Recording } from './blob';
import { atRest, h, panel, table, type Cell } from './dom';
import type { State } from './state';
import { bytes, more, time, whole as number } from './words';
import { abs, max, min, round } from './number';

const BARS = '▁▂▃▄▅▆▇█';
const MOST_BARS = 24;

/** Numbers as a line of bars, from the least to the most, changes of less than a tenth being small; of many, some that are equally far from each other. */
export function bars(values: number[]): string {
    const [least, most] = [min(...values), max(...values)];
    const range = max(most - least, most / 10, 1);
    const count = min(values.length, MOST_BARS);
    const shown = Array.from({ length: count }, (_, n) => values[round((n * (values.length - 1)) / max(count - 1, 1))]!);
    return shown.map((value) => BARS[round(((value - least) / range) * (BARS.length - 1))]).join('');
}

interface Counted {
    types: Map<string, readonly [objects: number, bytes: number]>;
    /** What there is of a type that is not among them: none, where all types are told of. */
    rest: readonly [number, number] | null;
}

/** The last census of a process. */
export function last({ head, heaps }: Recording, process: number): Counted | null {
    const n = head.heaps.findIndex((heap) => heap.process === process && heap.censuses.length);
    if (n < 0) return null;
    const { types, censuses, all } = head.heaps[n]!;
    const of = (which: number, type: number) => heaps[n]![which]![(censuses.length - 1) * types.length + type]!;
    return { types: new Map(types.map((name, type) => [name, [of(7, type), of(8, type)]])), rest: all > types.length ? null : [0, 0] };
}

/** A difference to the baseline, sorted by how large it is whichever way. */
export function versus(is: number | undefined, was: number | undefined, tell: (value: number) => string): Cell {
    if (is === undefined || was === undefined) return [0, '?'];
    return [abs(is - was), more(is - was, tell) + (is ? (was ? '' : ', new') : was ? ', gone' : '')];
}

export function census(state: State): HTMLElement | null {
    const { head, heaps } = state.recording;
    const place = h('div', { id: 'census-table' });
    if (!head.heaps.some((heap) => heap.censuses.length)) return null;
    const fill = () => {
        const [from, to] = state.looked.now;
        const other = state.against.now === 'baseline' ? state.baseline : null;
        const tables = head.heaps.map(({ process, censuses, types, trends, all }, n) => {
            const within = censuses.map((_, at) => at).filter((at) => from <= censuses[at]! && censuses[at]! <= to);
            if (!within.length) return h('p', {}, 'No census was taken in this span.');
            const of = (which: number, type: number) => within.map((at) => heaps[n]![which]![at * types.length + type]!);
            const theirs = other && last(other, process);
            const gone = theirs ? [...theirs.types.keys()].filter((name) => !types.includes(name)) : [];
            const beside = (name: string, its: readonly number[] | null): Cell[] => {
                if (!theirs) return [];
                const was = theirs.types.get(name) ?? theirs.rest;
                return [versus(its?.[0], was?.[0], number), versus(its?.[1], was?.[1], bytes)];
            };
            const rest = all > types.length ? null : [0, 0];
            const rows = types.map((name, type): Cell[] => {
                const [counts, sizes] = [of(7, type), of(8, type)];
                const [count, size] = [counts.at(-1)!, sizes.at(-1)!];
                const [risen, grown] = [count - counts[0]!, size - sizes[0]!];
                return [
                    name,
                    [count, number(count)],
                    [risen, more(risen, number)],
                    [size, bytes(size)],
                    [grown, more(grown, bytes)],
                    [risen, `${bars(counts)} ${trends[type] ?? ''}`],
                    ...beside(name, [count, size]),
                ];
            });
            const none: Cell = [0, rest ? '0' : '?'];
            for (const name of gone) rows.push([name, none, none, none, none, [0, ''], ...beside(name, rest)]);
            const who = head.heaps.length > 1 ? `, ${head.processes[process]?.name}` : '';
            const caption = `${number(all)} types in ${within.length} censuses, the last at ${time(censuses[within.at(-1)!]!)}${who}${theirs ? ', beside the last of the other recording' : ''}`;
            return table(caption, ['Type', 'Objects', 'More', 'Bytes', 'More bytes', 'Over time', ...(theirs ? ['Objects beside', 'Bytes beside'] : [])], rows, theirs ? 7 : 3);
        });
        place.replaceChildren(...tables);
    };
    atRest(place, () => [state.looked.now, state.against.now], fill);
    return panel('census', 'What objects there are', place);
}
