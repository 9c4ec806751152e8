// Call trees: the recording's own, grouped; what a span of time puts into it; and the same from the inside out.
//
// The shape of a tree is made once for a way of grouping. A span of time only weighs it, so that brushing costs what the span holds.

import { type Grouping, INSTALLED, MARK, OPCODE, type Recording, STANDARD } from './blob';
import type { Labels } from './label';
import { part, type Span, type Weights, within } from './weigh';
import { ceil, max } from './number';

/** What inverting a tree may cost, in steps: where that is too little, only so many innermost frames of each stack are there. */
const MAX_STEPS = 4_000_000;

export interface Way {
    by: Grouping;
    hideImports: boolean;
    hideLibraries: boolean;
    /** Only stacks with a frame that matches this pattern. */
    only: string;
    /** Whether stacks stand on their threads. */
    rooted: boolean;
}

/** A call tree without weights. Parents have smaller ids. */
export class Shape {
    parent: Int32Array;
    label: Int32Array;
    size = 0;
    /** Nodes plus one, where their parent and label lead to; twice as many as there is room for. */
    private slots: Int32Array;
    private families: { first: Uint32Array; all: Uint32Array } | null = null;

    /** One with room for about so many nodes; it grows. */
    constructor(
        readonly labels: Labels,
        nodes = 1,
    ) {
        const room = 2 ** ceil(Math.log2(nodes + 2));
        this.parent = new Int32Array(room);
        this.label = new Int32Array(room);
        this.slots = new Int32Array(2 * room);
    }

    /** The node that shows a label on another node, or on the root for -1; a new one where there is none. */
    node(below: number, is: number): number {
        const mask = this.slots.length - 1;
        let at = Math.imul(Math.imul(below + 1, 0x9e3779b1) ^ is, 0x85ebca6b);
        for (at = (at ^ (at >>> 15)) & mask; this.slots[at]; at = (at + 1) & mask) {
            const known = this.slots[at]! - 1;
            if (this.parent[known] === below && this.label[known] === is) return known;
        }
        if (this.size === this.parent.length) {
            this.grow();
            return this.node(below, is);
        }
        this.parent[this.size] = below;
        this.label[this.size] = is;
        this.slots[at] = ++this.size;
        return this.size - 1;
    }

    /** The nodes on a node, or on the root for -1, by name. */
    family(node: number): Uint32Array {
        this.families ??= this.sorted();
        const { first, all } = this.families;
        return all.subarray(first[node + 1]!, first[node + 2]!);
    }

    /** All nodes, those on one node together and by name. */
    private sorted(): { first: Uint32Array; all: Uint32Array } {
        const { parent, label, size } = this;
        const { rank } = this.labels;
        const laid = (nodes: Uint32Array, places: number, place: (node: number) => number) => {
            const first = new Uint32Array(places + 1);
            for (let n = 0; n < size; n++) first[place(n) + 1]!++;
            for (let n = 1; n < first.length; n++) first[n]! += first[n - 1]!;
            const all = new Uint32Array(size);
            const next = first.slice();
            for (const node of nodes) all[next[place(node)]!++] = node;
            return { first, all };
        };
        const named = laid(new Uint32Array(size).map((_, n) => n), rank.length, (node) => rank[label[node]!]!);
        return laid(named.all, size + 1, (node) => parent[node]! + 1);
    }

    private grow(): void {
        const { parent, label, size } = this;
        this.parent = new Int32Array(2 * size);
        this.label = new Int32Array(2 * size);
        this.slots = new Int32Array(4 * size);
        this.size = 0;
        for (let n = 0; n < size; n++) this.node(parent[n]!, label[n]!);
    }
}

/** One shape for some recordings, and the node of each of their rows; -1 where the row is left out. */
export interface Grouped {
    shape: Shape;
    places: Int32Array[];
}

/** A call tree with weights, beside those of what it is compared with, which are brought to the scale of this one. */
export class Tree {
    readonly sum: number;
    sumBefore = 0;
    readonly total: Float64Array;
    readonly before: { own: Float64Array; total: Float64Array } | null = null;
    private readonly known = new Map<number, number[]>();

    constructor(
        readonly shape: Shape,
        readonly own: Float64Array,
        before: Float64Array | null = null,
    ) {
        this.total = own.slice();
        this.sum = this.added(this.total);
        if (before) {
            const total = before.slice();
            this.sumBefore = this.added(total);
            const scale = this.sum / this.sumBefore || 1;
            const scaled = (of: Float64Array) => of.map((weight) => weight * scale);
            this.before = { own: scaled(before), total: scaled(total) };
        }
    }

    /** The weight of a node in both together. */
    both(node: number): number {
        return this.total[node]! + (this.before ? this.before.total[node]! : 0);
    }

    /** The children of a node that weigh something, or of the root for -1, by name. */
    children(node: number): number[] {
        let its = this.known.get(node);
        if (!its) {
            this.known.set(node, (its = []));
            for (const child of this.shape.family(node)) if (this.both(child) > 0) its.push(child);
        }
        return its;
    }

    /** What a node shows, in words. */
    text(node: number): string {
        return this.shape.labels.text[this.shape.label[node]!]!;
    }

    /** Adds to each node what is on it, and returns the sum. */
    private added(total: Float64Array): number {
        const { parent } = this.shape;
        let sum = 0;
        for (let n = total.length - 1; n >= 0; n--) {
            if (parent[n]! < 0) sum += total[n]!;
            else total[parent[n]!]! += total[n]!;
        }
        return sum;
    }
}

/** What stands below the stacks of a thread: its process, where there are several, and the thread, where that is asked for. */
function roots(recording: Recording, thread: number, way: Way): string[] {
    const { head } = recording;
    const its = head.threads[thread]!;
    const process = head.processes.length > 1 ? [head.processes[its.process]?.name ?? `process ${its.process}`] : [];
    return way.rooted ? [...process, its.name] : process;
}

/** The shape of the call trees of some recordings in which frames that are shown alike are one. */
export function group(recordings: Recording[], labels: Labels, way: Way): Grouped {
    const shape = new Shape(labels, recordings[0]!.parents.length);
    return { shape, places: recordings.map((recording) => placed(recording, shape, way)) };
}

/** Puts the stacks of a recording into a shape, and says where. */
function placed(recording: Recording, shape: Shape, way: Way): Int32Array {
    const { labels } = shape;
    const { parents, rows, node, begin, held, head } = recording;
    const { kinds, whose, by } = head.groups;
    const shows = by[way.by];
    const joins = way.by !== 'line' && way.by !== 'function';
    const imports = /^<frozen importlib|^<frozen zipimport|^importlib\//;
    const hidden = kinds.map((kind, row) => {
        const file = labels.file[by.line[row]!]!;
        const library = whose[row] === STANDARD || whose[row] === INSTALLED || file.startsWith('<frozen ');
        return (kind === OPCODE && way.by !== 'line') || (way.hideImports && imports.test(file)) || (way.hideLibraries && library && kind !== MARK);
    });
    const matches = labels.matching(way.only);
    const byRoot = new Map<string, number[]>();
    head.threads.forEach((_, thread) => {
        const key = JSON.stringify(roots(recording, thread, way));
        const its = byRoot.get(key) ?? [];
        its.push(thread);
        byRoot.set(key, its);
    });
    const places = new Int32Array(node.length);
    const at = new Int32Array(parents.length);
    const used = new Uint8Array(parents.length);
    const included = new Uint8Array(parents.length);
    for (const [key, threads] of byRoot) {
        used.fill(0);
        const each = (tell: (row: number) => void) => {
            for (const thread of threads) for (const first of [begin, ...held]) for (let n = first[thread]!; n < first[thread + 1]!; n++) tell(n);
        };
        each((n) => (used[node[n]!] = 1));
        for (let n = used.length - 1; n >= 0; n--) if (used[n] && parents[n]! >= 0) used[parents[n]!] = 1;
        let base = -1;
        if (used.includes(1)) for (const name of JSON.parse(key) as string[]) base = shape.node(base, labels.of(name, null, null, 0));
        for (let n = 0; n < used.length; n++) {
            if (!used[n]) continue;
            const row = rows[n]!;
            const below = parents[n]! < 0 ? base : at[parents[n]!]!;
            const skipped = hidden[row] || (joins && below !== base && shape.label[below] === shows[row]);
            at[n] = skipped ? below : shape.node(below, shows[row]!);
            included[n] = !way.only || (!hidden[row] && matches[shows[row]!]) || (parents[n]! >= 0 && included[parents[n]!]) ? 1 : 0;
        }
        let nothing = -1;
        each((n) => {
            const its = node[n]!;
            if (included[its] && at[its] === base && nothing < 0) nothing = shape.node(base, labels.of('<hidden>', null, null, 4 + MARK));
            places[n] = !included[its] ? -1 : at[its] === base ? nothing : at[its]!;
        });
    }
    return places;
}

/** What rows weigh in a span of time, as the own weights of a shape's nodes; what holds less memory than before weighs nothing. */
export function weighed({ shape, places }: Grouped, which: number, { recording, threads, amounts, first }: Weights, span: Span): Float64Array {
    const own = new Float64Array(shape.size);
    const place = places[which]!;
    const { from, until, head } = recording;
    const end = span[1];
    for (const thread of threads) {
        const begin = first !== recording.begin && head.threads[thread]!.traced ? 0 : span[0];
        const [low, high] = within(recording, first, thread, [begin, end]);
        for (let n = low; n < high; n++) {
            const at = place[n]!;
            // Nearly all of them lie within the span as a whole.
            if (at >= 0) own[at]! += from[n]! >= begin && until[n]! <= end ? amounts[n]! : part(recording, n, amounts[n]!, span);
        }
    }
    // Time is never less than nothing, and has no time to spare for being looked at once more.
    return first === recording.begin ? own : own.map((weight) => max(weight, 0));
}

/** The same tree with the innermost frames at the root, and above each what called it. */
export function invert(tree: Tree): Tree {
    const { parent, label, labels, size } = tree.shape;
    const leaves: number[] = [];
    for (let n = 0; n < size; n++) if (tree.own[n]! > 0 || (tree.before && tree.before.own[n]! > 0)) leaves.push(n);
    const deepest = ceil(MAX_STEPS / leaves.length);
    const shape = new Shape(labels);
    const places = leaves.map((leaf) => {
        let above = -1;
        for (let n = leaf, steps = 0; n >= 0 && steps < deepest; n = parent[n]!, steps++) above = shape.node(above, label[n]!);
        return above;
    });
    const moved = (own: Float64Array) => {
        const out = new Float64Array(shape.size);
        leaves.forEach((leaf, n) => (out[places[n]!]! += own[leaf]!));
        return out;
    };
    const out = new Tree(shape, moved(tree.own), tree.before && moved(tree.before.own));
    out.sumBefore = tree.sumBefore;
    return out;
}

export interface Spent {
    label: number;
    own: number;
    total: number;
    ownBefore: number;
    totalBefore: number;
}

/** What each label spent itself, and with all that it called; one that calls itself counts once. */
export function spent(tree: Tree): Spent[] {
    const { shape, own, total, before } = tree;
    const all = new Map<number, Spent>();
    const open = new Uint32Array(shape.labels.text.length);
    const steps: number[] = [];
    const climb = (node: number) => {
        for (const child of shape.family(node)) if (tree.both(child) > 0) steps.push(child);
    };
    climb(-1);
    while (steps.length) {
        const step = steps.pop()!;
        if (step < 0) {
            open[shape.label[~step]!]!--;
            continue;
        }
        const label = shape.label[step]!;
        let its = all.get(label);
        if (!its) all.set(label, (its = { label, own: 0, total: 0, ownBefore: 0, totalBefore: 0 }));
        its.own += own[step]!;
        if (before) its.ownBefore += before.own[step]!;
        if (!open[label]!++) {
            its.total += total[step]!;
            if (before) its.totalBefore += before.total[step]!;
        }
        steps.push(~step);
        climb(step);
    }
    return [...all.values()];
}

/** The weight of all stacks in which a label matches. */
export function matched(tree: Tree, matches: Uint8Array): number {
    const { parent, label, size } = tree.shape;
    const within = new Uint8Array(size);
    let sum = 0;
    for (let n = 0; n < size; n++) {
        const inside = parent[n]! >= 0 && within[parent[n]!]!;
        if (!inside && matches[label[n]!]) sum += tree.total[n]!;
        within[n] = inside || matches[label[n]!] ? 1 : 0;
    }
    return sum;
}

/** The labels of a node and of all below it, from the root. */
export function path(tree: Tree, node: number): number[] {
    const labels: number[] = [];
    for (let n = node; n >= 0; n = tree.shape.parent[n]!) labels.push(tree.shape.label[n]!);
    return labels.reverse();
}

/** The node that a path leads to, as far as it goes; -1 is the root. */
export function find(tree: Tree, labels: readonly number[]): number {
    let at = -1;
    for (const label of labels) {
        const next = tree.children(at).find((child) => tree.shape.label[child] === label);
        if (next === undefined) break;
        at = next;
    }
    return at;
}
