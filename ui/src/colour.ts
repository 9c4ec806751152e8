// Colours: scales that people who tell colours apart differently can read, and those of the theme.

import { abs, floor, max, min, round } from './number';

/** Whose code, or what kind of row: unknown, own, standard library, installed, synthetic, native, kernel, mark, instruction. */
const FRAMES = ['#d8d8d8', '#f0c05a', '#9ecae9', '#a8d5b5', '#c9c9d6', '#e8a887', '#d9a3a3', '#cbb4dd', '#eddc9a'];
/** Unknown, Python, native, wants the GIL, waits; and collecting garbage. */
export const STATE_COLOURS = ['#9a9a9a', '#e69f00', '#56b4e9', '#d55e00', '#b8bcc6', '#9467bd'];
/** Cividis, from the least to the most. */
const HEAT = [[0, 34, 78], [43, 65, 108], [92, 99, 110], [124, 123, 120], [166, 157, 117], [211, 193, 100], [254, 232, 56]];

export function frame(hue: number): string {
    return FRAMES[hue] ?? FRAMES[0]!;
}

/** The colour of a share between 0 and 1. */
export function heat(share: number): [number, number, number] {
    const at = min(max(share, 0), 1) * (HEAT.length - 1);
    const low = HEAT[floor(at)]!;
    const high = HEAT[min(floor(at) + 1, HEAT.length - 1)]!;
    const mix = (n: number) => round(low[n]! + (high[n]! - low[n]!) * (at % 1));
    return [mix(0), mix(1), mix(2)];
}

/** From blue for -1 over pale to orange for 1. */
export function mixed(change: number): number[] {
    const to = change < 0 ? [106, 168, 230] : [240, 140, 50];
    return to.map((part) => round(238 + (part - 238) * abs(change)));
}

/** The colour of a difference: blue where all of it went, orange where all of it is new, pale where nothing changed. */
export function difference(after: number, before: number): string {
    const change = after + before > 0 ? (after - before) / (after + before) : 0;
    return `rgb(${mixed(Math.sign(change) * Math.sqrt(abs(change))).join(',')})`;
}

/** A colour of the theme, by its name in the style sheet. */
export function ink(name: string): string {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
