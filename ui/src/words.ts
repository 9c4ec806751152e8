// Numbers and times in words.

import type { Metric } from './blob';
import { abs, round } from './number';

/** A time in the unit that suits it. */
export function time(ns: number): string {
    const units: [number, string][] = [[1e9, 's'], [1e6, 'ms'], [1e3, 'µs']];
    for (const [size, name] of units) if (abs(ns) >= size) return `${digits(ns / size)} ${name}`;
    return `${round(ns)} ns`;
}

function digits(value: number): string {
    return abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

export function weight(value: number, metric: Metric): string {
    return metric === 'time' ? time(value) : metric === 'bytes' ? bytes(value) : `${whole(value)} ${metric === 'samples' ? metric : 'blocks'}`;
}

const english = new Intl.NumberFormat('en');

export function whole(value: number): string {
    return english.format(round(value));
}

export function percent(part: number, all: number): string {
    return all > 0 ? `${((100 * part) / all).toFixed(1)} %` : '0 %';
}

/** A difference of shares, with its sign. */
export function change(part: number, before: number, all: number): string {
    const points = all > 0 ? (100 * (part - before)) / all : 0;
    return more(points, (points) => `${points.toFixed(1)} %`);
}

/** A difference, with its sign, in the words of `tell`. */
export function more(value: number, tell: (value: number) => string): string {
    return `${value > 0 ? '+' : value < 0 ? '−' : '±'}${tell(abs(value))}`;
}

export function bytes(value: number): string {
    const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
    let unit = 0;
    while (abs(value) >= 1024 && unit < units.length - 1) {
        value /= 1024;
        unit++;
    }
    return `${unit ? value.toFixed(1) : value} ${units[unit]}`;
}
