// A grid of cells over time, in columns: a cursor walks over it by pointer and by keys, and chooses spans of time.

import { computed, effect, signal } from './signal';
import { ink } from './colour';
import { Chart, drag } from './dom';
import type { State } from './state';
import type { Span } from './weigh';
import { floor, max, min } from './number';

export const TOP = 2;

/** What a grid shows. The cell of row `r` in column `c` is `c * rows + r`. */
export interface Grid {
    rows: number;
    columns: number;
    /** Pixels of a row. */
    high: number;
    /** Room below the rows. */
    below: number;
    /** Whether spans go over whole columns, and not from cell to cell down one column and on in the next. */
    wholly: boolean;
    colour(cell: number): readonly number[] | null;
    /** Where the columns begin, and how wide each is, in a sheet of some width. */
    place(width: number): [left: number, wide: number];
    /** From the begin of a cell to the end of another. */
    span(first: number, last: number): Span;
    /** What is said of a cell, or of all where it is -1. */
    says(cell: number): string;
    /** Draws what stands beside and on the cells; `outline` draws around some of them. */
    over(pen: CanvasRenderingContext2D, width: number, outline: (from: number, to: number, colour: string) => void): void;
}

export function grid(state: State, id: string, title: string, make: () => Grid): Chart {
    const shown = computed(make);
    const cursor = signal(-1);
    const begun = signal(-1);
    const sheet = document.createElement('canvas');
    const chart = new Chart(id, title, 'grid', 0, () => draw());
    const ends = () => {
        const { rows, wholly } = shown.now;
        const [first, last] = begun.now < 0 ? [cursor.now, cursor.now] : [min(begun.now, cursor.now), max(begun.now, cursor.now)];
        return begun.now >= 0 && wholly ? [first - (first % rows), last - (last % rows) + rows - 1] as const : [first, last] as const;
    };
    const draw = () => {
        state.theme.now;
        const its = shown.now;
        const [first, last] = ends();
        const { rows, columns, high } = its;
        chart.height = TOP + rows * high + its.below;
        const pen = chart.begin();
        const [left, wide] = its.place(chart.width);
        pen.imageSmoothingEnabled = false;
        pen.fillStyle = ink('empty');
        pen.fillRect(left, TOP, wide * columns, rows * high);
        pen.drawImage(sheet, left, TOP, wide * columns, rows * high);
        const outline = (from: number, to: number, colour: string) => {
            pen.strokeStyle = colour;
            pen.lineWidth = 2;
            for (let n = floor(from / rows); n <= floor(max(to - 0.001, from) / rows); n++) {
                const top = max(from - n * rows, 0);
                const bottom = min(to - n * rows, rows);
                pen.strokeRect(left + n * wide, TOP + top * high, max(wide, 2), max((bottom - top) * high, 2));
            }
        };
        its.over(pen, chart.width, outline);
        if (first >= 0) outline(first, last + 1, ink('ink'));
        chart.say(its.says(cursor.now) + (begun.now < 0 ? '' : ', Enter ends the span'));
    };
    const cellAt = ([x, y]: [number, number]) => {
        const { rows, columns, high, place } = shown.now;
        const [left, wide] = place(chart.width);
        const within = (at: number, most: number) => min(max(floor(at), 0), most - 1);
        return within((x - left) / wide, columns) * rows + within((y - TOP) / high, rows);
    };
    const choose = (compare: boolean) => {
        const span = shown.now.span(...ends());
        begun.now = -1;
        if (compare) state.against.now = span;
        else state.look(...span);
    };
    drag(chart, (from, to, done, shift) => {
        begun.now = cellAt(from);
        cursor.now = cellAt(to);
        if (done) choose(shift);
    });
    chart.on('pointermove', (event) => {
        if (!event.buttons) cursor.now = cellAt(chart.at(event));
    });
    chart.on('pointerleave', () => (cursor.now = begun.now < 0 ? -1 : cursor.now));
    chart.on('keydown', (event) => {
        const { rows, columns } = shown.now;
        const moves: Record<string, number> = { ArrowLeft: -rows, ArrowRight: rows, ArrowUp: -1, ArrowDown: 1 };
        const move = moves[event.key];
        const to = cursor.now < 0 ? 0 : cursor.now + (move ?? 0);
        if (move !== undefined) {
            if (to >= 0 && to < rows * columns) cursor.now = to;
        } else if (event.key === 'Enter' || event.key.toLowerCase() === 'b') {
            cursor.now = to;
            if (begun.now < 0) begun.now = to;
            else choose(event.key !== 'Enter');
        } else if (event.key === 'Escape') {
            begun.now = -1;
            state.looked.now = state.whole;
        } else return;
        event.preventDefault();
    });
    effect(() => {
        const { rows, columns, colour } = shown.now;
        sheet.width = columns;
        sheet.height = rows;
        const pen = sheet.getContext('2d')!;
        const image = pen.createImageData(columns, rows);
        for (let cell = 0; cell < rows * columns; cell++) {
            const its = colour(cell);
            if (its) image.data.set([...its, 255], ((cell % rows) * columns + floor(cell / rows)) * 4);
        }
        pen.putImageData(image, 0, 0);
    });
    effect(() => {
        // In another grid the cursor would be elsewhere.
        if (cursor.peek() >= shown.now.rows * shown.now.columns) cursor.now = -1;
    });
    effect(draw);
    return chart;
}
