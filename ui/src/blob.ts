// Reads the data that lies in the page: `src/format/report/blob.rs` writes it, and names the columns in the same words.

/** What kind of thing a row is, as numbers in the data. */
export const MARK = 3;
export const OPCODE = 4;
/** Whose code it is. */
export const STANDARD = 2;
export const INSTALLED = 3;
/** What a thread was doing. */
export const STATES = ['unknown', 'running Python', 'running native code', 'waiting for the GIL', 'waiting'] as const;
export const WAITS = 4;
/** A flag that is set; 0 is unknown and 1 is not set. */
export const YES = 2;
export const GROUPINGS = ['line', 'function', 'file', 'module', 'distribution'] as const;
export const MODES = ['wall', 'cpu', 'gil', 'exception'] as const;
export const METRICS = ['time', 'samples', 'bytes', 'objects'] as const;

export type Grouping = (typeof GROUPINGS)[number];
export type Mode = (typeof MODES)[number];
export type Metric = (typeof METRICS)[number];

export interface Groups {
    names: string[];
    files: (string | null)[];
    lines: (number | null)[];
    by: Record<Grouping, number[]>;
    kinds: number[];
    whose: number[];
    /** The line of source of each row, where it was kept. */
    sources: (string | null)[];
}

/** process, interpreter, generation, from, until, pause, exactness, count, collected, uncollectable, before, after, node */
export type Collection = [
    number, number, number, number, number, number, string, number, number, number, number | null, number | null, number | null,
];

export interface Counter {
    process: number;
    name: string;
    at: number[];
    value: number[];
}

export interface Process {
    name: string;
    pid: number;
    command: string;
    python: string;
    build: string;
}

/** A heap: `times` are the moments at which columns end. */
export interface Heap {
    process: number;
    times: number[];
    /** Rows by address: from, to, how many arenas; of some pools of one the first of them, how many, and where the arena begins. */
    arenas: [from: number, to: number, arenas: number, first?: number, pools?: number, arena?: number][];
    sizes: number[];
    censuses: number[];
    types: string[];
    trends: (string | null)[];
    /** How many types there were, the smallest included, which are left out. */
    all: number;
}

/** Numbers over time: that of row `r` in column `c` is at `c * rows + r`. */
export type Matrix = Float64Array;

export interface Head {
    format: number;
    title: string;
    facts: [string, string][];
    warnings: string[];
    processes: Process[];
    span: [number, number];
    view: { mode: Mode; metric: Metric; by: Grouping; idle: boolean; threads: boolean };
    nodes: number;
    groups: Groups;
    /** `rows` is how many samples there are of each, `memory` how often its stacks hold other bytes and blocks than before; where that was `traced`,
     * what counts is what they hold up to a moment. */
    threads: { name: string; process: number; rows: number; memory: [number, number]; traced: boolean }[];
    /** What bytes and objects are. */
    memory: string;
    waits: string[];
    gc: Collection[];
    counters: Counter[];
    moments: number;
    heaps: Heap[];
}

/** A recording as columns. The rows of thread `t` are `begin[t]` up to `begin[t + 1]`, in time. Times are nanoseconds. */
export interface Recording {
    head: Head;
    /** The node below each node of the call tree, -1 at the root; a parent has the smaller id. */
    parents: Int32Array;
    /** The row that each node shows. */
    rows: Uint32Array;
    begin: Uint32Array;
    from: Float64Array;
    until: Float64Array;
    weight: Float64Array;
    cpu: Float64Array;
    count: Uint32Array;
    node: Uint32Array;
    /** state | holds GIL << 3 | collects << 5 | handles an exception << 7 */
    state: Uint16Array;
    /** What it waits for, as a place in `head.waits` plus one. */
    wait: Uint32Array;
    /** Behind the samples: where in `from`, `until`, `node` and `weight` it stands what the stacks of each thread hold more or less, in bytes, and in
     * blocks. */
    held: Uint32Array[];
    /** Of each heap: bytes of arenas, of pools in use, and of blocks in use, where that is known, and the bytes of a block; pools, blocks in use and
     * free blocks of size classes; objects and bytes of types. */
    heaps: Matrix[][];
}

const unfolded = (value: number) => (value % 2 ? -(value + 1) / 2 : value / 2);

class Reader {
    constructor(
        private readonly bytes: Uint8Array,
        private at: number,
    ) {}

    number(): number {
        let value = 0;
        for (let scale = 1; ; scale *= 128) {
            if (this.at >= this.bytes.length) throw new Error('the data of this page is cut short');
            const byte = this.bytes[this.at++]!;
            value += (byte & 127) * scale;
            if (byte < 128) return value;
        }
    }

    /** Reads `number - base`, zigzagged. */
    beside(base: number): number {
        return base + unfolded(this.number());
    }

    /** Reads nothing as `none`, and else one more than `number - base`. */
    some(base: number, none: number): number {
        const value = this.number();
        return value ? base + unfolded(value - 1) : none;
    }
}

export function decode(bytes: Uint8Array): Recording {
    const length = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
    const head = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length))) as Head;
    if (head.format !== 3) throw new Error('the data of this page is of another version');
    const reader = new Reader(bytes, 4 + length);
    const parents = Int32Array.from({ length: head.nodes }, (_, node) => {
        const back = reader.number();
        return back ? node - back : -1;
    });
    const rows = Uint32Array.from({ length: head.nodes }, () => reader.number());
    const begin = new Uint32Array(head.threads.length + 1);
    head.threads.forEach((thread, t) => (begin[t + 1] = begin[t]! + thread.rows));
    const all = begin[head.threads.length]!;
    let end = all;
    const held = [0, 1].map((which) => Uint32Array.from([...head.threads.map(({ memory }) => (end += memory[which]!) - memory[which]!), end]));
    // Columns that begin anew with each thread are told where.
    const column = <T extends { [n: number]: number }>(into: T, read: (n: number, first: boolean) => number): T => {
        head.threads.forEach((_, t) => {
            for (let n = begin[t]!; n < begin[t + 1]!; n++) into[n] = read(n, n === begin[t]);
        });
        return into;
    };
    let moment = 0;
    const moments = Float64Array.from({ length: head.moments }, () => (moment += reader.number()));
    const from = new Float64Array(end);
    const until = new Float64Array(end);
    const [begins, ends] = [new Uint32Array(all), new Uint32Array(all)];
    const gaps = column(new Int32Array(all), () => reader.beside(0));
    const lengths = column(new Int32Array(all), () => reader.beside(0));
    column(begins, (n, first) => {
        const at = (first ? 0 : ends[n - 1]!) + gaps[n]!;
        ends[n] = at + lengths[n]!;
        from[n] = moments[at]!;
        until[n] = moments[ends[n]!]!;
        return at;
    });
    const weight = column(new Float64Array(end), (n) => reader.beside(until[n]! - from[n]!));
    const cpu = column(new Float64Array(all), (n) => reader.some(until[n]! - from[n]!, 0));
    const count = column(new Uint32Array(all), () => reader.number());
    const node = new Uint32Array(end);
    column(node, (n, first) => reader.beside(first ? 0 : node[n - 1]!));
    const state = column(new Uint16Array(all), () => reader.number());
    const wait = column(new Uint32Array(all), () => reader.number());
    const matrix = (rows: unknown[], columns: unknown[], none?: number): Matrix => {
        const out = new Float64Array(rows.length * columns.length);
        rows.forEach((_, row) => {
            for (let at = row, last = 0; at < out.length; at += rows.length) {
                out[at] = none === undefined ? reader.beside(last) : reader.some(last, none);
                last = Number.isNaN(out[at]) ? last : out[at]!;
            }
        });
        return out;
    };
    const heaps = head.heaps.map(({ times, arenas, sizes, censuses, types }) => [
        matrix(arenas, times), matrix(arenas, times), matrix(arenas, times, NaN), matrix(arenas, times),
        matrix(sizes, times), matrix(sizes, times), matrix(sizes, times),
        matrix(types, censuses), matrix(types, censuses),
    ]);
    for (const first of held) {
        head.threads.forEach((_, t) => {
            for (let n = first[t]!, at = 0, last = 0; n < first[t + 1]!; n++) {
                from[n] = until[n] = moments[(at = reader.beside(at))]!;
                last = node[n] = reader.beside(last);
                weight[n] = reader.beside(0);
            }
        });
    }
    return { head, parents, rows, begin, from, until, weight, cpu, count, node, state, wait, held, heaps };
}

export async function load(id: string): Promise<Recording | null> {
    const element = document.getElementById(id);
    if (!element) return null;
    const text = atob(element.textContent ?? '');
    element.remove();
    const packed = new Uint8Array(text.length);
    for (let n = 0; n < packed.length; n++) packed[n] = text.charCodeAt(n);
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate-raw'));
    return decode(new Uint8Array(await new Response(stream).arrayBuffer()));
}
