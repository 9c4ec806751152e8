// Elements, made with their texts as texts: nothing that comes from a recording is ever read as HTML.

import { effect } from './signal';
import { round } from './number';

type Child = Node | string;

/** What is costly is made when nothing has changed for so long. */
const QUIET_MS = 120;

export function h<K extends keyof HTMLElementTagNameMap>(
    name: K,
    attributes: Record<string, string | ((event: Event) => void)> = {},
    ...children: Child[]
): HTMLElementTagNameMap[K] {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
        if (typeof value === 'function') element.addEventListener(key, value);
        else element.setAttribute(key, value);
    }
    element.append(...children);
    return element;
}

/** A text of the page itself. */
export function prose(id: string): DocumentFragment {
    return document.querySelector<HTMLTemplateElement>(`#${id}`)!.content;
}

/** A panel with its title, how to read it (which stands in the page itself), and its parts. */
export function panel(id: string, title: string, ...children: Child[]): HTMLElement {
    const explained = h('details', { class: 'how' }, h('summary', {}, 'How to read this'), prose(`how-${id}`).cloneNode(true));
    return h('section', { id, 'aria-labelledby': `${id}-title` }, h('h2', { id: `${id}-title` }, title), explained, ...children);
}

export function button(text: string, id: string, click: () => void): HTMLButtonElement {
    return h('button', { type: 'button', id, click }, text);
}

/** A text, or a number and how it is told: numbers stand at the right, and are sorted from the largest. */
export type Cell = string | readonly [value: number, text: string];

/** A table that sorts itself by a column when its head is pressed; rows are alike in which of their cells are numbers. */
export function table(caption: string, columns: string[], rows: Cell[][], sorted = -1, pick?: (row: number) => void, most = 500): HTMLElement {
    const body = h('tbody');
    const part = (cell: Cell, which: 0 | 1) => (typeof cell === 'string' ? cell : cell[which]);
    const isNumber = columns.map((_, n) => !!rows[0] && typeof rows[0][n] !== 'string');
    const aligned = (n: number): { class?: string } => (isNumber[n] ? { class: 'number' } : {});
    const heads = columns.map((name, n) => h('th', { scope: 'col', ...aligned(n) }, h('button', { type: 'button', click: () => sort(n) }, name)));
    let by = -1;
    let down = true;
    const fill = (order: number[]) => {
        body.replaceChildren(
            ...order.slice(0, most).map((row) => {
                const cells = rows[row]!.map((cell, n) => {
                    const text = String(part(cell, 1));
                    if (n) return h('td', aligned(n), text);
                    return h('th', { scope: 'row', ...aligned(n) }, pick ? h('button', { type: 'button', class: 'pick', click: () => pick(row) }, text) : text);
                });
                return h('tr', {}, ...cells);
            }),
        );
    };
    const sort = (n: number) => {
        down = by === n ? !down : isNumber[n]!;
        by = n;
        heads.forEach((head, at) => (at === n ? head.setAttribute('aria-sort', down ? 'descending' : 'ascending') : head.removeAttribute('aria-sort')));
        const order = rows.map((_, row) => row);
        order.sort((a, b) => {
            const [x, y] = [part(rows[a]![n]!, 0), part(rows[b]![n]!, 0)];
            return (x < y ? -1 : x > y ? 1 : a - b) * (down ? -1 : 1);
        });
        fill(order);
    };
    if (sorted >= 0) sort(sorted);
    else fill(rows.map((_, row) => row));
    const more = rows.length > most ? ` (${most} of ${rows.length} rows)` : '';
    const grid = h('table', {}, h('caption', {}, caption + more), h('thead', {}, h('tr', {}, ...heads)), body);
    return h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption }, grid);
}

/** Fills an element when what it looks at has not changed for a moment; until then the element says that it is busy. */
export function atRest(place: HTMLElement, looks: () => unknown, fill: () => void): void {
    let due = 0;
    effect(() => {
        looks();
        place.setAttribute('aria-busy', 'true');
        clearTimeout(due);
        due = window.setTimeout(() => {
            fill();
            place.removeAttribute('aria-busy');
        }, QUIET_MS);
    });
}

/** What a chart shows, as a table that is made when somebody opens it. */
export function asTable(looks: () => unknown, make: () => HTMLElement): HTMLElement {
    const place = h('div');
    const fill = () => place.replaceChildren(...(element.open ? [make()] : []));
    const element = h('details', { class: 'text', toggle: fill }, h('summary', {}, 'As a table'), place);
    atRest(place, looks, fill);
    return element;
}

/** A canvas as wide as its place, sharp on every screen, that can be reached by keyboard and says what is focused in it. */
export class Chart {
    readonly canvas: HTMLCanvasElement;
    readonly element: HTMLElement;
    readonly status: HTMLElement;
    readonly pen: CanvasRenderingContext2D;
    width = 0;
    private shownHeight = 0;

    constructor(
        id: string,
        label: string,
        keys: string,
        public height: number,
        draw: () => void,
    ) {
        this.canvas = h('canvas', { id: `${id}-chart`, tabindex: '0', role: 'img', 'aria-label': `${label}: ${prose(`keys-${keys}`).textContent}`, 'aria-describedby': `${id}-status` });
        this.status = h('p', { id: `${id}-status`, class: 'status', role: 'status' });
        this.element = h('div', { class: 'chart' }, this.canvas);
        this.pen = this.canvas.getContext('2d')!;
        new ResizeObserver(() => {
            if (this.element.clientWidth !== this.width) draw();
        }).observe(this.element);
    }

    /** Makes an empty sheet of the size that there is room for. */
    begin(): CanvasRenderingContext2D {
        const scale = window.devicePixelRatio || 1;
        const width = this.element.clientWidth;
        if (width !== this.width || this.height !== this.shownHeight || this.canvas.width !== round(width * scale)) {
            this.width = width;
            this.shownHeight = this.height;
            this.canvas.width = round(width * scale);
            this.canvas.height = round(this.height * scale);
            this.canvas.style.height = `${this.height}px`;
        }
        this.pen.setTransform(scale, 0, 0, scale, 0, 0);
        this.pen.clearRect(0, 0, width, this.height);
        this.pen.font = '12px system-ui, sans-serif';
        this.pen.textBaseline = 'middle';
        return this.pen;
    }

    /** Where a pointer is in the canvas. */
    at(event: MouseEvent): [number, number] {
        const box = this.canvas.getBoundingClientRect();
        return [event.clientX - box.left, event.clientY - box.top];
    }

    on<K extends keyof HTMLElementEventMap>(name: K, tell: (event: HTMLElementEventMap[K]) => void): void {
        this.canvas.addEventListener(name, tell);
    }

    say(text: string): void {
        if (this.status.textContent !== text) this.status.textContent = text;
    }
}

/** Calls back while a pointer that was pressed moves, and when it is let go. */
export function drag(chart: Chart, tell: (from: [number, number], to: [number, number], done: boolean, shift: boolean) => void): void {
    let from: [number, number] | null = null;
    const moved = (event: PointerEvent) => {
        if (from) tell(from, chart.at(event), event.type === 'pointerup', event.shiftKey);
        if (event.type !== 'pointermove') from = null;
    };
    chart.on('pointerdown', (event) => {
        if (event.button) return;
        from = chart.at(event);
        chart.canvas.setPointerCapture(event.pointerId);
    });
    chart.on('pointermove', moved);
    chart.on('pointerup', moved);
    chart.on('pointercancel', moved);
}
