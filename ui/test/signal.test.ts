// Values, what is computed of them, and what is done again.

import { expect, test } from 'vitest';
import { computed, effect, signal } from '../src/signal';

test('what looked at a value is done again when it changes, and only then', () => {
    const [a, b] = [signal(1), signal(10)];
    const seen: number[] = [];
    effect(() => void seen.push(a.now + b.peek()));
    a.now = 2;
    a.now = 2;
    b.now = 20;
    a.now = 3;
    expect(seen).toEqual([11, 12, 23]);
});

test('what is computed is computed once a change, and not before somebody wants it', () => {
    const a = signal(1);
    let made = 0;
    const twice = computed(() => (made++, a.now * 2));
    const more = computed(() => twice.now + a.now);
    expect(made).toBe(0);
    expect([more.now, twice.now, more.now]).toEqual([3, 2, 3]);
    a.now = 2;
    expect([more.now, made]).toEqual([6, 2]);
});

test('an effect that sees a value in two ways is done again once', () => {
    const a = signal(1);
    const twice = computed(() => a.now * 2);
    const seen: [number, number][] = [];
    effect(() => void seen.push([a.now, twice.now]));
    a.now = 5;
    expect(seen).toEqual([[1, 2], [5, 10]]);
});

test('what was not looked at last time is no reason', () => {
    const [which, a, b] = [signal(true), signal(1), signal(2)];
    const seen: number[] = [];
    effect(() => void seen.push(which.now ? a.now : b.now));
    which.now = false;
    a.now = 100;
    b.now = 3;
    expect(seen).toEqual([1, 2, 3]);
});

test('an effect may set what another one looks at', () => {
    const [a, b] = [signal(1), signal(0)];
    const seen: number[] = [];
    effect(() => void seen.push(b.now));
    effect(() => (b.now = a.now * 10) && undefined);
    a.now = 4;
    expect(seen).toEqual([0, 10, 40]);
});

test('one that fails does not silence the others for ever', () => {
    const a = signal(1);
    effect(() => {
        if (a.now === 2) throw new Error('no');
    });
    expect(() => (a.now = 2)).toThrow('no');
    const seen: number[] = [];
    effect(() => void seen.push(a.now));
    a.now = 3;
    expect(seen).toEqual([2, 3]);
});
