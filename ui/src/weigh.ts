// What samples count for: the modes, the filters and the span of time, by the same rules as `pitviper export`.

import { METRICS, type Metric, type Mode, type Recording, WAITS, YES } from './blob';
import { floor, max, min } from './number';

export type Span = readonly [number, number];

export interface Filter {
    mode: Mode;
    unit: Metric;
    idle: boolean;
    /** The one thread that counts, or -1 for all. */
    thread: number;
    /** The one state that counts, or -1 for all. */
    state: number;
}

/** What a row counts for; 0 where it does not. */
export function counts(recording: Recording, row: number, filter: Filter): number {
    const packed = recording.state[row]!;
    const state = packed & 7;
    if (filter.state >= 0 && state !== filter.state) return 0;
    const awake = filter.idle || state !== WAITS;
    switch (filter.mode) {
        case 'wall':
            if (!awake) return 0;
            break;
        case 'exception':
            if (!awake || packed >> 7 !== YES) return 0;
            break;
        case 'gil':
            if (((packed >> 3) & 3) !== YES) return 0;
            break;
        case 'cpu':
            if (!recording.cpu[row]) return 0;
            return filter.unit === 'samples' ? recording.count[row]! : recording.cpu[row]!;
    }
    return filter.unit === 'samples' ? recording.count[row]! : recording.weight[row]!;
}

/** The part of a weight that falls to a part of its time, rounded. */
export function share(weight: number, part: number, whole: number): number {
    if (part === whole || whole === 0) return weight;
    return Number((BigInt(weight) * BigInt(part) + BigInt(floor(whole / 2))) / BigInt(whole));
}

/** The rows of a thread that touch a span of time: the first, and the one after the last. */
export function within({ from, until }: Recording, begin: Uint32Array, thread: number, span: Span): [number, number] {
    const first = (is: (n: number) => boolean) => {
        let [low, high] = [begin[thread]!, begin[thread + 1]!];
        while (low < high) {
            const middle = (low + high) >> 1;
            if (is(middle)) high = middle;
            else low = middle + 1;
        }
        return low;
    };
    // What ends where the span begins, or begins where it ends, is in it only where it took no time.
    const before = (n: number) => until[n]! < span[0] || (until[n] === span[0] && from[n]! < until[n]!);
    const after = (n: number) => from[n]! > span[1] || (from[n] === span[1] && from[n]! < until[n]!);
    return [first((n) => !before(n)), first(after)];
}

/** The part of a row's weight that falls into a span of time. */
export function part({ from, until }: Recording, row: number, weight: number, span: Span): number {
    const [a, b] = [from[row]!, until[row]!];
    return span[0] <= a && b <= span[1] ? weight : share(weight, min(b, span[1]) - max(a, span[0]), b - a);
}

/** Calls back for each row of a thread in a span of time, with where it lies there and what it counts for. */
export function each(
    recording: Recording,
    thread: number,
    span: Span,
    filter: Filter,
    tell: (row: number, weight: number, from: number, until: number) => void,
): void {
    const { from, until } = recording;
    const [low, high] = within(recording, recording.begin, thread, span);
    for (let n = low; n < high; n++) {
        const weight = counts(recording, n, filter);
        if (weight) tell(n, part(recording, n, weight, span), max(from[n]!, span[0]), min(until[n]!, span[1]));
    }
}

/** What each row of a recording counts for, and the threads that count. */
export interface Weights {
    recording: Recording;
    threads: number[];
    amounts: Float64Array;
    /** Where the rows of each thread begin. */
    first: Uint32Array;
}

export function weights(recording: Recording, filter: Filter): Weights {
    const held = recording.held[METRICS.indexOf(filter.unit) - 2];
    const amounts = held ? recording.weight : recording.cpu.map((_, row) => counts(recording, row, filter));
    return { recording, threads: threads(recording, filter), amounts, first: held ?? recording.begin };
}

/** The threads that count. */
export function threads(recording: Recording, filter: Filter): number[] {
    const all = recording.head.threads.map((_, thread) => thread);
    return filter.thread < 0 ? all : all.filter((thread) => thread === filter.thread);
}
