// Recordings made by hand, for the tests.

import type { Head, Recording } from '../src/blob';

const ROWS = ['main', 'work', 'read', '<frozen importlib._bootstrap>'];

/** Two threads: one runs main → work → read with some waiting, one imports. Times in milliseconds here, nanoseconds there. */
export function made(): Recording {
    const ms = 1e6;
    const files = ['app.py', 'app.py', 'lib/io.py', '<frozen importlib._bootstrap>'];
    const each = [0, 1, 2, 3];
    const head: Head = {
        format: 3,
        title: 'python app.py (pid 7)',
        facts: [],
        warnings: [],
        processes: [{ name: 'process 7: python app.py', pid: 7, command: 'python app.py', python: '3.13.0', build: '' }],
        span: [0, 100 * ms],
        view: { mode: 'wall', metric: 'time', by: 'line', idle: false, threads: false },
        nodes: 4,
        groups: {
            names: [...ROWS, 'app', 'io', 'importlib'],
            files: [...files, null, null, null],
            lines: [1, 2, 3, 4, null, null, null],
            by: { line: each, function: each, file: [4, 4, 5, 6], module: [4, 4, 5, 6], distribution: [4, 4, 5, 6] },
            kinds: [0, 0, 0, 0],
            whose: [1, 1, 3, 4],
            sources: ['work()', null, null, null],
        },
        threads: [{ name: 'main (tid 7)', process: 0, rows: 3, memory: [1, 1], traced: false }, { name: 'other (tid 8)', process: 0, rows: 1, memory: [2, 1], traced: true }],
        memory: 'what memory is',
        waits: ['sleep'],
        gc: [[0, 0, 2, 10 * ms, 12 * ms, 2 * ms, 'exact', 1, 30, 0, null, null, 1], [0, 0, 0, 50 * ms, 51 * ms, ms, 'bounds', 2, 5, 1, null, null, null]],
        counters: [],
        moments: 6,
        heaps: [{ process: 0, times: [50 * ms, 100 * ms], arenas: [[1 << 20, 2 << 20, 1], [4 << 20, 5 << 20, 1]], sizes: [16, 512], censuses: [10 * ms, 90 * ms], types: ['app.Leak'], trends: [null], all: 2 }],
    };
    return {
        head,
        parents: Int32Array.of(-1, 0, 1, -1),
        rows: Uint32Array.of(0, 1, 2, 3),
        begin: Uint32Array.of(0, 3, 4),
        // Behind the samples: bytes of one thread and of the other, blocks likewise, each at a moment.
        from: Float64Array.of(0, 40 * ms, 60 * ms, 0, 40 * ms, 0, 70 * ms, 40 * ms, 0),
        until: Float64Array.of(40 * ms, 60 * ms, 100 * ms, 10 * ms, 40 * ms, 0, 70 * ms, 40 * ms, 0),
        weight: Float64Array.of(40 * ms, 20 * ms, 40 * ms, 10 * ms, 700, 30, 2000, 2, 5),
        held: [Uint32Array.of(4, 5, 7), Uint32Array.of(7, 8, 9)],
        cpu: Float64Array.of(30 * ms, 0, 0, 9 * ms),
        count: Uint32Array.of(4, 2, 4, 1),
        node: Uint32Array.of(1, 2, 2, 3, 2, 3, 1, 2, 3),
        // Python with the GIL; native; waiting; Python, handling an exception.
        state: Uint16Array.of(1 | (2 << 3), 2 | (1 << 3), 4, 1 | (2 << 7)),
        wait: Uint32Array.of(0, 0, 1, 0),
        // A column after the other: the second arena is there from the second moment on, and its blocks were not looked at yet.
        heaps: [[[1 << 20, 0, 1 << 20, 1 << 20], [5e5, 0, 6e5, 1e5], [4e5, NaN, 3e5, NaN], [16, 0, 512, 0], [3, 1, 4, 1], [500, 10, 700, 4], [20, 20, 50, 26], [5, 9], [240, 432]].map((numbers) => Float64Array.from(numbers))],
    };
}

/** The bytes that `src/format/report/blob.rs` would write of a recording. */
export function encode(recording: Recording): Uint8Array {
    const out: number[] = [];
    const push = (value: number) => {
        for (; value >= 128; value = Math.floor(value / 128)) out.push((value % 128) + 128);
        out.push(value);
    };
    const zigzag = (base: number, value: number) => (value >= base ? (value - base) * 2 : (base - value) * 2 - 1);
    const beside = (base: number, value: number) => push(zigzag(base, value));
    const some = (base: number, value: number, none: number) => push(Object.is(value, none) ? 0 : zigzag(base, value) + 1);
    recording.parents.forEach((parent, node) => push(parent < 0 ? 0 : node - parent));
    recording.rows.forEach(push);
    const each = (tell: (n: number, last: number) => void) => {
        recording.head.threads.forEach((_, t) => {
            for (let n = recording.begin[t]!; n < recording.begin[t + 1]!; n++) tell(n, n === recording.begin[t] ? -1 : n - 1);
        });
    };
    const moments = [...new Set([...recording.from, ...recording.until])].sort((a, b) => a - b);
    const moment = (at: number) => moments.indexOf(at);
    moments.forEach((at, n) => push(at - (moments[n - 1] ?? 0)));
    each((n, last) => beside(last < 0 ? 0 : moment(recording.until[last]!), moment(recording.from[n]!)));
    each((n) => beside(moment(recording.from[n]!), moment(recording.until[n]!)));
    each((n) => beside(recording.until[n]! - recording.from[n]!, recording.weight[n]!));
    each((n) => some(recording.until[n]! - recording.from[n]!, recording.cpu[n]!, 0));
    each((n) => push(recording.count[n]!));
    each((n, last) => beside(last < 0 ? 0 : recording.node[last]!, recording.node[n]!));
    each((n) => push(recording.state[n]!));
    each((n) => push(recording.wait[n]!));
    recording.head.heaps.forEach((heap, which) => {
        [heap.arenas, heap.arenas, heap.arenas, heap.arenas, heap.sizes, heap.sizes, heap.sizes, heap.types, heap.types].forEach((rows, matrix) => {
            const numbers = recording.heaps[which]![matrix]!;
            rows.forEach((_, row) => {
                for (let at = row, last = 0; at < numbers.length; at += rows.length) {
                    if (matrix === 2) some(last, numbers[at]!, NaN);
                    else beside(last, numbers[at]!);
                    last = Number.isNaN(numbers[at]) ? last : numbers[at]!;
                }
            });
        });
    });
    for (const first of recording.held) {
        recording.head.threads.forEach((_, t) => {
            for (let n = first[t]!; n < first[t + 1]!; n++) {
                const last = n > first[t]!;
                beside(last ? moment(recording.from[n - 1]!) : 0, moment(recording.from[n]!));
                beside(last ? recording.node[n - 1]! : 0, recording.node[n]!);
                beside(0, recording.weight[n]!);
            }
        });
    }
    const text = new TextEncoder().encode(JSON.stringify(recording.head));
    const bytes = new Uint8Array(4 + text.length + out.length);
    new DataView(bytes.buffer).setUint32(0, text.length, true);
    bytes.set(text, 4);
    bytes.set(out, 4 + text.length);
    return bytes;
}
