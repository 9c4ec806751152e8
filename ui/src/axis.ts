// The axis of time that panels share: where a moment is, its marks, and how it is brushed by pointer and keys.

import { effect } from './signal';
import type { Counter } from './blob';
import { ink } from './colour';
import { Chart, drag } from './dom';
import type { State } from './state';
import type { Span } from './weigh';
import { time } from './words';
import { abs, ceil, floor, max, min } from './number';

export const LEFT = 120;
export const AXIS = 16;

export interface Axis {
    x(at: number): number;
    at(x: number): number;
}

export function axis(span: Span, width: number): Axis {
    const room = max(width - LEFT - 8, 1);
    const long = max(span[1] - span[0], 1);
    return {
        x: (at) => LEFT + ((at - span[0]) / long) * room,
        at: (x) => span[0] + (min(max(x - LEFT, 0), room) / room) * long,
    };
}

/** Distances between marks: 1, 2 or 5 of a power of ten. */
export function step(long: number, most: number): number {
    const least = max(long / most, 1);
    const power = 10 ** floor(Math.log10(least));
    return [1, 2, 5, 10].map((n) => n * power).find((size) => size >= least)!;
}

export function marks(pen: CanvasRenderingContext2D, its: Axis, span: Span, width: number, y: number): void {
    const size = step(span[1] - span[0], max(floor((width - LEFT) / 90), 1));
    pen.fillStyle = ink('ink');
    pen.textAlign = 'center';
    for (let at = ceil(span[0] / size) * size; at <= span[1]; at += size) {
        pen.fillRect(its.x(at), y, 1, 4);
        if (its.x(at) < width - 20) pen.fillText(at ? time(at) : '0', its.x(at), y + 10);
    }
    pen.textAlign = 'left';
}

/** What a number is at a moment; nothing before it was told. */
export function valueAt(counter: Counter | undefined, moment: number): number | undefined {
    return counter?.value[counter.at.findLastIndex((at) => at <= moment)];
}

/** Draws a number that stands until the next one is told. */
export function stairs(pen: CanvasRenderingContext2D, its: Axis, counter: Counter, end: number, y: (value: number) => number): void {
    pen.beginPath();
    counter.at.forEach((at, n) => {
        pen.lineTo(its.x(at), y(counter.value[n]!));
        pen.lineTo(its.x(counter.at[n + 1] ?? end), y(counter.value[n]!));
    });
    pen.stroke();
}

/** Shows which span is looked at by shading what is not. */
export function shade(pen: CanvasRenderingContext2D, its: Axis, state: State, width: number, height: number): void {
    const [from, to] = state.looked.now;
    if (from === state.whole[0] && to === state.whole[1]) return;
    pen.fillStyle = ink('shade');
    pen.fillRect(LEFT, 0, its.x(from) - LEFT, height);
    pen.fillRect(its.x(to), 0, width - its.x(to), height);
    pen.strokeStyle = ink('focus');
    pen.lineWidth = 1;
    pen.strokeRect(its.x(from), 0.5, max(its.x(to) - its.x(from), 1), height - 1);
}

/** A name beside a lane, and below it what its height means. */
export function beside(pen: CanvasRenderingContext2D, y: number, name: string, below = ''): void {
    pen.fillStyle = ink('ink');
    pen.fillText(name, 2, y + 9, LEFT - 6);
    pen.fillStyle = ink('faint');
    pen.fillText(below, 2, y + 23, LEFT - 6);
}

/** A chart over all of the time, with the brush. What is painted stays until its size, the colours or what it looks at change. */
export function timeline(
    state: State,
    id: string,
    title: string,
    height: number,
    paint: (pen: CanvasRenderingContext2D, its: Axis, width: number) => void,
    tell: (at: number, y: number) => string | undefined,
    looks: () => unknown = () => '',
): Chart {
    const picture = document.createElement('canvas');
    let painted = '';
    const draw = () => {
        // All that it looks at is named here, for nothing is drawn before it has a place.
        const now = `${state.theme.now} ${looks()}`;
        state.looked.now;
        const pen = chart.begin();
        const { canvas, width } = chart;
        const its = axis(state.whole, width);
        if (!width) return;
        if (painted !== now || picture.width !== canvas.width) {
            painted = now;
            paint(pen, its, width);
            marks(pen, its, state.whole, width, height);
            picture.width = canvas.width;
            picture.height = canvas.height;
            picture.getContext('2d')!.drawImage(canvas, 0, 0);
        } else pen.drawImage(picture, 0, 0, width, chart.height);
        shade(pen, its, state, width, height);
    };
    const chart = new Chart(id, title, 'time', height + AXIS, draw);
    drag(chart, (from, to, done) => {
        const its = axis(state.whole, chart.width);
        if (abs(to[0] - from[0]) > 3) state.look(its.at(from[0]), its.at(to[0]));
        else if (done) state.looked.now = state.whole;
    });
    chart.on('pointermove', (event) => {
        const [x, y] = chart.at(event);
        const says = tell(axis(state.whole, chart.width).at(x), y);
        if (says) chart.say(says);
    });
    chart.on('keydown', (event) => {
        const [from, to] = state.looked.now;
        const part = (state.whole[1] - state.whole[0]) / 20;
        const by = event.key === 'ArrowLeft' ? -part : event.key === 'ArrowRight' ? part : 0;
        if (event.key === 'Escape') state.looked.now = state.whole;
        else if (event.key === 'Enter') state.against.now = state.looked.now;
        else if (!by) return;
        else if (event.shiftKey) state.look(from, max(to + by, from + part / 4));
        else if (from + by >= state.whole[0] - 1 && to + by <= state.whole[1] + 1) state.look(from + by, to + by);
        else state.look(from + max(by, 0), to + min(by, 0));
        event.preventDefault();
    });
    effect(draw);
    return chart;
}
