// The flame graph as an icicle: the root at the top, what it called below it, as wide as the weight; drawn only as far as it can be seen.

import { effect, signal } from './signal';
import { difference, frame, ink } from './colour';
import { asTable, button, type Cell, Chart, h, panel, table } from './dom';
import type { State } from './state';
import { METRICS } from './blob';
import { find, matched, path, type Tree } from './tree';
import { change, percent, weight } from './words';
import { floor, max, min } from './number';

const ROW = 18;
/** Narrower frames are not drawn. */
const NARROWEST = 0.5;
const MOST_HEIGHT = 520;

interface Box {
    node: number;
    x: number;
    width: number;
    depth: number;
}

/** The boxes of a tree in a sheet of some width, those below `zoom` spread over all of it. */
export function boxes(tree: Tree, zoom: number, width: number): Box[] {
    const out: Box[] = [];
    const size = (node: number) => tree.both(node);
    const line: number[] = [];
    for (let n = zoom; n >= 0; n = tree.shape.parent[n]!) line.push(n);
    line.reverse().forEach((node, depth) => out.push({ node, x: 0, width, depth: depth + 1 }));
    const roots = tree.children(-1).reduce((sum, node) => sum + size(node), 0);
    const scale = width / ((zoom >= 0 ? size(zoom) : roots) || 1);
    const steps: Box[] = [{ node: zoom, x: 0, width, depth: line.length }];
    while (steps.length) {
        const step = steps.pop()!;
        let x = step.x;
        for (const child of tree.children(step.node)) {
            const its = size(child) * scale;
            if (its >= NARROWEST) {
                const box = { node: child, x, width: its, depth: step.depth + 1 };
                out.push(box);
                steps.push(box);
            }
            x += its;
        }
    }
    return out;
}

export function flame(state: State): HTMLElement {
    const focus = signal(-1);
    let shown: Box[] = [];
    const chart = new Chart('flame', 'Flame graph', 'flame', 300, () => draw());
    const spacer = h('div');
    const scroller = h('div', { class: 'tall', scroll: () => draw() }, chart.element, spacer);
    const text = asTable(() => state.tree.now, () => asText(state));

    const describe = (node: number): string => {
        const tree = state.tree.now;
        const metric = state.unit.now;
        if (node < 0) return `All: ${weight(tree.sum, metric)}${tree.before ? `, before ${weight(tree.sumBefore, metric)}` : ''}`;
        const total = tree.total[node]!;
        let says = `${tree.text(node)}: ${weight(total, metric)}, ${percent(total, tree.sum)}; own ${weight(tree.own[node]!, metric)}`;
        if (tree.before) {
            const before = tree.before.total[node]!;
            says += `; ${change(total, before, tree.sum)} beside the other${total === 0 ? ', where alone it is' : before === 0 ? ', where it is not' : ''}`;
        }
        const source = state.labels.source[tree.shape.label[node]!];
        return source ? `${says} · ${source}` : says;
    };

    const draw = () => {
        const tree = state.tree.now;
        const zoom = find(tree, state.zoom.now);
        const matches = state.matches.now;
        state.theme.now;
        shown = boxes(tree, zoom, chart.element.clientWidth);
        const depth = shown.reduce((most, box) => max(most, box.depth), 0) + 1;
        chart.height = min(depth * ROW, MOST_HEIGHT);
        spacer.style.height = `${depth * ROW - chart.height}px`;
        const pen = chart.begin();
        const top = scroller.scrollTop;
        const labels = tree.shape.label;
        const tell = state.search.now !== '';
        const letter = pen.measureText('nine letters').width / 12;
        const [dimmed, focused] = [ink('dimmed'), ink('focus')];
        const put = (x: number, y: number, width: number, colour: string, name: string) => {
            pen.fillStyle = colour;
            pen.fillRect(x, y, max(width - 0.5, NARROWEST), ROW - 1);
            if (width > 28) {
                pen.fillStyle = '#111';
                const room = floor((width - 6) / letter);
                pen.fillText(name.length > room ? `${name.slice(0, max(room - 1, 1))}…` : name, x + 3, y + ROW / 2, width - 5);
            }
        };
        if (top < ROW) put(0, -top, chart.width, ink('all'), tree.sum || tree.sumBefore ? 'all' : 'no samples');
        for (const { node, x, width, depth } of shown) {
            const label = labels[node]!;
            const y = depth * ROW - top;
            if (y < -ROW || y > chart.height) continue;
            const colour = tell && !matches[label] ? dimmed : tree.before ? difference(tree.total[node]!, tree.before.total[node]!) : frame(state.labels.hue[label]!);
            put(x, y, width, colour, state.labels.text[label]!);
            if (node === focus.now) {
                pen.strokeStyle = focused;
                pen.lineWidth = 2;
                pen.strokeRect(x + 1, y + 1, max(width - 2, 1), ROW - 3);
            }
        }
        const found = tell ? matched(tree, matches) : 0;
        const hits = tell ? ` · matches: ${weight(found, state.unit.now)}, ${percent(found, tree.sum)}` : '';
        chart.say(describe(max(focus.now, zoom)) + hits);
        chart.canvas.dataset.shown = String(tree.sum);
        chart.canvas.dataset.level = String(state.zoom.now.length);
    };

    const hit = (event: MouseEvent): Box | undefined => {
        const [x, y] = chart.at(event);
        const depth = floor((y + scroller.scrollTop) / ROW);
        return shown.find((box) => box.depth === depth && box.x <= x && x < box.x + box.width);
    };
    const zoomTo = (node: number) => {
        state.zoom.now = path(state.tree.now, node);
        scroller.scrollTop = 0;
    };
    chart.on('pointermove', (event) => (focus.now = hit(event)?.node ?? -1));
    chart.on('pointerleave', () => (focus.now = -1));
    chart.on('click', (event) => zoomTo(hit(event)?.node ?? -1));
    chart.on('keydown', (event) => {
        const tree = state.tree.now;
        const zoom = find(tree, state.zoom.now);
        const at = focus.now < 0 ? zoom : focus.now;
        const family = at < 0 ? [] : tree.children(tree.shape.parent[at]!);
        const moves: Record<string, () => void> = {
            ArrowDown: () => {
                const largest = tree.children(at).reduce((best, node) => (best < 0 || tree.both(node) > tree.both(best) ? node : best), -1);
                if (largest >= 0) focus.now = largest;
            },
            ArrowUp: () => (focus.now = at < 0 ? -1 : tree.shape.parent[at]!),
            ArrowLeft: () => (focus.now = family[max(family.indexOf(at) - 1, 0)] ?? at),
            ArrowRight: () => (focus.now = family[min(family.indexOf(at) + 1, family.length - 1)] ?? at),
            Enter: () => zoomTo(at),
            Escape: () => zoomTo(zoom < 0 ? -1 : tree.shape.parent[zoom]!),
        };
        const move = moves[event.key];
        if (!move) return;
        event.preventDefault();
        move();
        const depth = path(tree, focus.now).length;
        if (depth * ROW < scroller.scrollTop || (depth + 1) * ROW > scroller.scrollTop + chart.height) scroller.scrollTop = (depth - 3) * ROW;
    });
    // Ids of nodes are those of one tree: in another one they are other frames.
    effect(() => {
        state.tree.now;
        focus.now = -1;
    });
    effect(() => {
        focus.now;
        draw();
    });
    const note = h('p', { id: 'flame-note' });
    effect(() => (note.textContent = METRICS.indexOf(state.unit.now) > 1 ? state.recording.head.memory : ''));
    return panel(
        'flame',
        'Where it goes',
        note,
        button('Zoom out', 'zoom-out', () => zoomTo(-1)),
        scroller,
        chart.status,
        text,
    );
}

/** The heaviest stacks, whole. */
function asText(state: State): HTMLElement {
    const tree = state.tree.now;
    const order = Array.from(tree.own.keys()).filter((node) => tree.own[node]! > 0 || (tree.before?.own[node] ?? 0) > 0);
    order.sort((a, b) => tree.own[b]! - tree.own[a]!);
    const rows = order.slice(0, 200).map((node): Cell[] => [
        path(tree, node).map((label) => state.labels.text[label]!).join(' › '),
        [tree.own[node]!, weight(tree.own[node]!, state.unit.now)],
        [tree.own[node]!, percent(tree.own[node]!, tree.sum)],
    ]);
    return table('The heaviest stacks', ['Stack, from the root', 'Weight', 'Share'], rows);
}
