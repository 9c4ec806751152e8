// The data, what it counts for, and the trees that are made of it.

import { expect, test } from 'vitest';
import { decode, type Grouping, type Recording } from '../src/blob';
import { foldable, folded, csv } from '../src/download';
import { boxes } from '../src/flame';
import { percentile, work, within } from '../src/gc';
import { bars, last, versus } from '../src/census';
import { beside, columns, kept, memories } from '../src/heap';
import { heatOf, period } from '../src/heatmap';
import { step } from '../src/axis';
import { Labels } from '../src/label';
import { binned } from '../src/overview';
import { find, group, invert, matched, path, Shape, spent, Tree, weighed } from '../src/tree';
import { counts, each, share, type Filter, type Span, weights } from '../src/weigh';
import { bytes, change, percent, time } from '../src/words';
import { encode, made } from './made';

const MS = 1e6;
const WALL: Filter = { mode: 'wall', unit: 'time', idle: false, thread: -1, state: -1 };
const SHAPE = { by: 'line' as Grouping, hideImports: false, hideLibraries: false, only: '' };

function grown(of: Recording, filter = WALL, shape: Partial<typeof SHAPE> = {}, span: Span = of.head.span, threads = false) {
    const labels = new Labels();
    labels.adopt(of);
    const grouped = group([of], labels, { ...SHAPE, ...shape, rooted: threads });
    return new Tree(grouped.shape, weighed(grouped, 0, weights(of, filter), span));
}

function lines(...args: Parameters<typeof grown>): string[] {
    return folded(grown(...args), args[1]?.unit ?? 'time').trim().split('\n');
}

test('what was written is what is read', () => {
    expect(decode(encode(made()))).toEqual(made());
});

test('large numbers and empty threads survive', () => {
    const large = made();
    large.from[3] = 2 ** 51;
    large.until[3] = 2 ** 51 + 10;
    large.head.moments = 7;
    large.weight[3] = 3;
    large.head.threads.push({ name: 'none', process: 0, rows: 0, memory: [0, 0], traced: false });
    large.begin = Uint32Array.of(0, 3, 4, 4);
    large.held = [Uint32Array.of(4, 5, 7, 7), Uint32Array.of(7, 8, 9, 9)];
    expect(decode(encode(large))).toEqual(large);
});

test('data that is cut short is refused', () => {
    const whole = encode(made());
    expect(() => decode(whole.subarray(0, whole.length - 1))).toThrow('cut short');
});

test('each mode counts what it says', () => {
    const of = (filter: Partial<Filter>) => [0, 1, 2, 3].map((row) => counts(made(), row, { ...WALL, ...filter }) / MS);
    expect(of({})).toEqual([40, 20, 0, 10]);
    expect(of({ idle: true })).toEqual([40, 20, 40, 10]);
    expect(of({ mode: 'cpu' })).toEqual([30, 0, 0, 9]);
    expect(of({ mode: 'gil' })).toEqual([40, 0, 0, 0]);
    expect(of({ mode: 'exception' })).toEqual([0, 0, 0, 10]);
    expect(of({ idle: true, state: 4 })).toEqual([0, 0, 40, 0]);
    expect(counts(made(), 0, { ...WALL, unit: 'samples' })).toBe(4);
});

test('a part of a time has that part of the weight, rounded as the exports round', () => {
    expect(share(10, 1, 3)).toBe(3);
    expect(share(10, 1, 4)).toBe(3);
    expect(share(7, 0, 0)).toBe(7);
    expect(share(2 ** 52 + 1, 1, 2)).toBe(2 ** 51 + 1);
});

test('a span of time takes what lies in it', () => {
    const rows: [number, number][] = [];
    each(made(), 0, [30 * MS, 50 * MS], WALL, (row, weight) => rows.push([row, weight / MS]));
    expect(rows).toEqual([[0, 10], [1, 10]]);
});

test('folded stacks of each grouping', () => {
    expect(lines(made())).toEqual(['<frozen importlib._bootstrap> (<frozen importlib._bootstrap>:4) 10000', 'main (app.py:1);work (app.py:2) 40000', 'main (app.py:1);work (app.py:2);read (lib/io.py:3) 20000']);
    expect(lines(made(), WALL, { by: 'module' })).toEqual(['app 40000', 'app;io 20000', 'importlib 10000']);
    expect(lines(made(), { ...WALL, unit: 'samples' }, { by: 'module' })).toEqual(['app 4', 'app;io 2', 'importlib 1']);
    expect(lines(made(), WALL, { by: 'module' }, undefined, true)).toEqual(['main (tid 7);app 40000', 'main (tid 7);app;io 20000', 'other (tid 8);importlib 10000']);
});

test('hidden frames give their time to what called them', () => {
    expect(lines(made(), WALL, { hideImports: true })).toContain('<hidden> 10000');
    expect(lines(made(), WALL, { hideLibraries: true })).toContain('main (app.py:1);work (app.py:2) 60000');
    expect(lines(made(), WALL, { only: 'read' })).toEqual(['main (app.py:1);work (app.py:2);read (lib/io.py:3) 20000']);
});

test('a tree adds up, and inside out it is the same sum', () => {
    const its = grown(made());
    expect(its.sum).toBe(70 * MS);
    expect(its.children(-1).map((n) => its.total[n]! / MS)).toEqual([10, 60]);
    const out = invert(its);
    expect(out.sum).toBe(its.sum);
    expect(out.children(-1).map((n) => [its.shape.labels.name[out.shape.label[n]!], out.total[n]! / MS])).toEqual([[ '<frozen importlib._bootstrap>', 10], ['read', 20], ['work', 40]]);
});

test('a difference shows what is gone and what is new', () => {
    const of = made();
    const labels = new Labels();
    labels.adopt(of);
    const grouped = group([of], labels, { ...SHAPE, rooted: false });
    const [now, before] = ([[40, 100], [0, 40]] as const).map(([from, to]) => weighed(grouped, 0, weights(of, WALL), [from * MS, to * MS]));
    const both = new Tree(grouped.shape, now!, before);
    expect([both.sum, both.sumBefore]).toEqual([20 * MS, 50 * MS]);
    const by = Object.fromEntries(spent(both).map((row) => [labels.name[row.label], [row.total / MS, Math.round(row.totalBefore / MS)]]));
    expect(by).toEqual({ main: [20, 16], work: [20, 16], read: [20, 0], '<frozen importlib._bootstrap>': [0, 4] });
    const out = invert(both);
    expect(out.before!.own.reduce((a, b) => a + b)).toBeCloseTo(20 * MS);
    expect(out.sumBefore).toBe(50 * MS);
});

test('two recordings share one tree, and what is called alike is one node', () => {
    const [a, b] = [made(), made()];
    b.head.groups.names = b.head.groups.names.map((name) => (name === 'read' ? 'write' : name));
    const labels = new Labels();
    [a, b].forEach((of) => labels.adopt(of));
    const grouped = group([a, b], labels, { ...SHAPE, rooted: false });
    const both = new Tree(grouped.shape, weighed(grouped, 0, weights(a, WALL), a.head.span), weighed(grouped, 1, weights(b, WALL), b.head.span));
    const rows = spent(both).map((row) => [labels.name[row.label], row.own / MS, row.ownBefore / MS]);
    expect(rows.sort()).toEqual([['<frozen importlib._bootstrap>', 10, 10], ['main', 0, 0], ['read', 20, 0], ['work', 40, 40], ['write', 0, 20]]);
});

test('memory is counted by the stacks that hold it, in the span where it grew, or up to its end where there are tables of it', () => {
    const of = (unit: 'bytes' | 'objects', span: Span, thread = -1, its = made()) => lines(its, { ...WALL, unit, thread }, { by: 'module' }, span);
    const whole: Span = [0, 100 * MS];
    expect(of('bytes', whole)).toEqual(['app 2000', 'app;io 700', 'importlib 30']);
    expect(of('objects', whole)).toEqual(['app;io 2', 'importlib 5']);
    expect(of('bytes', whole, 0)).toEqual(['app;io 700']);
    expect(of('bytes', [10 * MS, 60 * MS])).toEqual(['app;io 700', 'importlib 30']);
    expect(of('bytes', [50 * MS, 60 * MS])).toEqual(['importlib 30']);
    expect(of('bytes', [80 * MS, 90 * MS])).toEqual(['app 2000', 'importlib 30']);
    // What was given back in a span is not there, and takes nothing from others.
    const less = made();
    less.weight[6] = -10;
    less.node[6] = 3;
    expect([of('bytes', [80 * MS, 90 * MS], -1, less), of('bytes', [0, 10 * MS], -1, less)]).toEqual([['importlib 20'], ['importlib 30']]);
    less.weight[6] = -50;
    expect(of('bytes', [80 * MS, 90 * MS], -1, less)).toEqual(['']);
});

test('a shape finds its nodes again however many there are', () => {
    const labels = new Labels();
    for (let n = 0; n < 1_009; n++) labels.of(`f${n}`, null, null, 0);
    const shape = new Shape(labels);
    const walk = () => {
        const nodes: number[] = [];
        for (let n = 0; n < 5_000; n++) nodes.push(shape.node(n % 7 ? nodes[n - 1]! : -1, (n * n) % 1_009));
        return nodes;
    };
    const nodes = walk();
    expect(walk()).toEqual(nodes);
    expect(shape.size).toBe(new Set(nodes).size);
    const on = (below: number) => nodes.filter((node) => shape.parent[node] === below);
    expect(new Set(shape.family(-1))).toEqual(new Set(on(-1)));
    expect(new Set(shape.family(nodes[0]!))).toEqual(new Set(on(nodes[0]!)));
});

test('what a search finds is counted once, however often a stack has it', () => {
    const its = grown(made());
    const found = (pattern: string) => matched(its, its.shape.labels.matching(pattern)) / MS;
    expect([found('app.py'), found('read'), found('read|bootstrap'), found('none')]).toEqual([60, 20, 30, 0]);
});

test('a function that calls itself counts once', () => {
    const of = made();
    of.head.groups.by.line = [0, 0, 0, 3];
    const row = spent(grown(of)).find((it) => it.total > 10 * MS)!;
    expect([row.own / MS, row.total / MS]).toEqual([60, 60]);
});

test('a path leads to its node, and as far as it goes', () => {
    const its = grown(made());
    const deepest = its.own.findIndex((own) => own === 20 * MS);
    expect(find(its, path(its, deepest))).toBe(deepest);
    expect(find(its, [...path(its, deepest), 999])).toBe(deepest);
    expect(find(its, [])).toBe(-1);
});

test('boxes are as wide as their weights, and a zoom fills the sheet', () => {
    const its = grown(made());
    const all = boxes(its, -1, 700);
    expect(all.map((box) => Math.round(box.width)).sort((a, b) => a - b)).toEqual([100, 200, 600, 600]);
    const main = its.children(-1)[1]!;
    expect(boxes(its, main, 700).map((box) => [box.depth, Math.round(box.width)])).toEqual([[1, 700], [2, 700], [3, 233]]);
});

test('five thousand frames on each other are drawn', () => {
    const of = made();
    const deep = 5_000;
    of.parents = Int32Array.from({ length: deep }, (_, n) => n - 1);
    of.rows = new Uint32Array(deep).map((_, n) => n % 3);
    of.head.nodes = deep;
    of.node.fill(deep - 1);
    expect(boxes(grown(of), -1, 500).length).toBe(deep);
});

test('an empty recording has an empty tree', () => {
    const of = made();
    of.head.threads = [];
    of.begin = Uint32Array.of(0);
    const its = grown(of);
    expect([its.sum, its.children(-1).length, spent(its).length, boxes(its, -1, 100).length, folded(its, 'time')]).toEqual([0, 0, 0, 0, '']);
});

test('the heat map loses no weight', () => {
    const its = heatOf(made(), WALL, made().head.span);
    expect(its.cells.reduce((a, b) => a + b)).toBeCloseTo(70 * MS);
    expect(period(100 * MS)).toBe(MS);
    expect([period(30e9), period(3600e9), period(1)]).toEqual([1e9, 6e11 / 10, 1e6]);
    const bins = binned(made(), [0, 1], made().head.span, { ...WALL, idle: true }, 10);
    expect(Array.from(bins, (bin) => Math.round(bin / MS))).toEqual([20, 10, 10, 10, 10, 10, 10, 10, 10, 10]);
});

test('a heap is read by arena and by size, and what is not known yet is at most the pools in use', () => {
    const { head, heaps } = made();
    const [arenas, classes] = memories(head.heaps[0]!, heaps[0]!);
    expect(Array.from(arenas.used)).toEqual([4e5, 0, 3e5, 1e5]);
    expect([arenas.name(1), arenas.more(3)]).toEqual(['arena 0x400000', 'blocks not looked at yet, 97.7 KiB in pools']);
    // Where no pools are told of, none is named.
    expect([arenas.more(1), arenas.more(2)]).toEqual(['blocks not looked at yet, 0 B in pools', 'mostly blocks of 512 bytes, 585.9 KiB in pools']);
    expect(Array.from(classes.used)).toEqual([8000, 5120, 11200, 2048]);
    expect(Array.from(classes.room)).toEqual([8320, 15360, 12000, 15360]);
});

test('single pools are named, and some of them together as what they are', () => {
    const { head, heaps } = made();
    const heap = head.heaps[0]!;
    const [first, second] = heap.arenas;
    heap.arenas = [[...first!.slice(0, 3), 12, 1, 1 << 20] as typeof first, [...second!.slice(0, 3), 4, 4, 4 << 20] as typeof first] as typeof heap.arenas;
    heaps[0]![3] = Float64Array.of(64, 16, 0, 0);
    heaps[0]![2] = Float64Array.of(4e5, 1e3, 0, 0);
    const [rows] = memories(heap, heaps[0]!);
    expect([rows.name(0), rows.name(1)]).toEqual(['arena 0x100000, pool 12', 'arena 0x400000, pools 4-7']);
    expect([0, 1, 2, 3].map((cell) => rows.more(cell))).toEqual(['blocks of 64 bytes', 'mostly blocks of 16 bytes, 0 B in pools', 'no block in use', 'no block in use, 97.7 KiB in pools']);
});

test('what is kept up to a moment is the least that there is until then', () => {
    const used = Float64Array.of(5, 1, 3, 9, 4, 2);
    expect(Array.from(kept(used, 2, 2))).toEqual([3, 1, 3, 2, 4, 2]);
    expect(Array.from(kept(used, 2, 1))).toEqual([3, 1, 3, 9, 4, 2]);
    expect(Array.from(kept(used, 2, 0))).toEqual([5, 1, 3, 9, 4, 2]);
    const times = [10, 20, 30];
    expect([[0, 30], [11, 20], [12, 25], [5, 99], [40, 50]].map((span) => columns(times, span as [number, number]))).toEqual([[0, 2], [1, 1], [1, 2], [0, 2], [2, 2]]);
});

test('a heap beside its baseline', () => {
    const { head } = made();
    const counters = (value: number[]) => [{ process: 0, name: 'arena_bytes', at: [10, 20], value }, { process: 0, name: 'gc: count 0', at: [1], value: [1] }, { process: 1, name: 'arenas', at: [1], value: [1] }];
    const rows = (moment: number, theirs = counters([5, 1024])) => beside({ ...head, counters: counters([2048, 4096]) }, { ...head, counters: theirs }, 0, moment);
    expect(rows(15)).toEqual([['arena bytes', [2048, '2.0 KiB'], [1024, '1.0 KiB'], [1024, '+1.0 KiB']]]);
    expect([rows(5), rows(15, [])]).toEqual([[['arena bytes', [0, '?'], [1024, '1.0 KiB'], [0, '?']]], [['arena bytes', [2048, '2.0 KiB'], [0, '?'], [0, '?']]]]);
    expect([versus(0, 7, String), versus(7, 0, String), versus(7, 7, String), versus(0, 0, String), versus(1, undefined, String)]).toEqual([[7, '−7, gone'], [7, '+7, new'], [0, '±0'], [0, '±0'], [0, '?']]);
});

test('the last census of a process, and what is known of types that it does not name', () => {
    const recording = made();
    expect(last(recording, 0)).toEqual({ types: new Map([['app.Leak', [9, 432]]]), rest: null });
    recording.head.heaps[0]!.all = 1;
    expect([last(recording, 0)!.rest, last(recording, 1)]).toEqual([[0, 0], null]);
});

test('numbers as bars', () => {
    expect([bars([0, 1, 2, 4]), bars([]), bars([7]), bars([100, 101, 100]), bars([90, 100])]).toEqual(['▁▃▅█', '', '▁', '▁▂▁', '▁█']);
    expect(bars(Array.from({ length: 1000 }, (_, n) => n)).length).toBe(24);
});

test('collections of a span are added up', () => {
    expect(work(within(made(), made().head.span))).toEqual({ collections: 3, collected: 35, uncollectable: 1, pause: 3 * MS });
    const { gc } = made().head;
    const pauses = (rows: typeof gc) => [0.1, 0.5, 0.6, 1].map((share) => percentile(rows, share) / MS);
    expect([pauses(gc), pauses(gc.slice(1))]).toEqual([[0.5, 0.5, 0.5, 2], [0, 0, 1, 1]]);
    expect(percentile([], 0.5)).toBe(0);
    expect(within(made(), [12 * MS, 100 * MS]).length).toBe(1);
});

test('a frame cannot be taken for more than one', () => {
    expect(['f (a.py:3)', 'a;b', 'worker 12', 'worker 1.5', 'worker nan', '# f', ' ', 'a 1e5', 'v 1.2.3'].map(foldable)).toEqual(['f (a.py:3)', 'a,b', 'worker_12', 'worker_1.5', 'worker_nan', '_# f', '?', 'a_1e5', 'v 1.2.3']);
});

test('a formula in a name stays a text in a spreadsheet', () => {
    const of = made();
    of.head.groups.names[0] = '=cmd|"x"';
    expect(csv(grown(of))).toContain('"\'=cmd|""x"" (app.py:1)",0,60000000');
});

test('patterns that do not compile are plain texts', () => {
    const labels = new Labels();
    ['a(b', 'ab'].forEach((name) => labels.of(name, null, null, 0));
    expect(Array.from(labels.matching('a('))).toEqual([1, 0]);
    expect(Array.from(labels.matching(''))).toEqual([0, 0]);
});

test('numbers in words', () => {
    expect([time(0), time(999), time(1500), time(2.5e9), time(-3e6), time(12345e6)]).toEqual(['0 ns', '999 ns', '1.50 µs', '2.50 s', '-3.00 ms', '12.3 s']);
    expect([percent(1, 3), percent(1, 0), change(3, 1, 10), change(1, 3, 10), change(1, 1, 10)]).toEqual(['33.3 %', '0 %', '+20.0 %', '−20.0 %', '±0.0 %']);
    expect([bytes(10), bytes(1536), bytes(3 * 2 ** 30)]).toEqual(['10 B', '1.5 KiB', '3.0 GiB']);
    expect([step(100, 10), step(101, 10), step(7, 7)]).toEqual([10, 20, 1]);
});
