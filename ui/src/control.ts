// What all panels obey: modes, filters and groupings, in one bar that stays in sight.

import { effect, type Signal } from './signal';
import { GROUPINGS, METRICS, MODES, STATES } from './blob';
import { button, h } from './dom';
import type { State } from './state';
import { time } from './words';

export function choice<T extends string | number>(name: string, id: string, of: Signal<T>, options: readonly (readonly [T, string])[]): HTMLElement {
    const change = () => (of.now = options[select.selectedIndex]![0]);
    const select = h('select', { id, change }, ...options.map(([value, text]) => h('option', { value: String(value) }, text)));
    effect(() => void (select.value = String(of.now)));
    return h('label', {}, `${name} `, select);
}

function toggle(name: string, id: string, of: Signal<boolean>): HTMLElement {
    const box = h('input', { type: 'checkbox', id, change: () => (of.now = box.checked) });
    effect(() => void (box.checked = of.now));
    return h('label', {}, box, ` ${name}`);
}

export function controls(state: State): HTMLElement {
    const { recording, baseline } = state;
    const words = <T extends string>(all: readonly T[]) => all.map((word) => [word, word] as const);
    const threads = recording.head.threads.map((thread, n) => [n, thread.name] as const);
    const search = h('input', { type: 'search', id: 'search', placeholder: 'name or file, a pattern', input: () => (state.search.now = search.value) });
    effect(() => {
        if (search.value !== state.search.now) search.value = state.search.now;
    });
    const span = h('output', { id: 'span' });
    effect(() => {
        const [from, to] = state.looked.now;
        const all = from === state.whole[0] && to === state.whole[1];
        span.textContent = all ? `All of it: ${time(to - from)}` : `${time(from)} to ${time(to)} (${time(to - from)})`;
    });
    const whole = button('All of the time', 'whole', () => (state.looked.now = state.whole));
    const pin = button('Compare others with this span', 'pin', () => (state.against.now = state.looked.now));
    const stop = button('Stop comparing', 'unpin', () => (state.against.now = null));
    const back = button('Compare with the other recording', 'rebase', () => (state.against.now = 'baseline'));
    const compared = h('output', { id: 'against' });
    effect(() => {
        const against = state.against.now;
        stop.hidden = against === null;
        back.hidden = !baseline || against === 'baseline';
        compared.textContent =
            against === null ? '' : against === 'baseline' ? `compared with ${baseline!.head.title}` : `compared with ${time(against[0])} to ${time(against[1])}`;
    });
    return h(
        'div',
        { id: 'controls', role: 'region', 'aria-label': 'What is shown' },
        choice('Mode', 'mode', state.mode, words(MODES)),
        choice('Weight', 'metric', state.unit, words(METRICS.slice(0, recording.head.threads.some((its) => its.memory[0]) ? 4 : 2))),
        choice('Frames by', 'by', state.by, words(GROUPINGS)),
        choice('Thread', 'thread', state.thread, [[-1, 'all of them'] as const, ...threads]),
        choice('Doing', 'doing', state.doing, [[-1, 'anything'] as const, ...STATES.map((name, n) => [n, name] as const)]),
        toggle('waiting threads', 'idle', state.idle),
        toggle('threads as roots', 'roots', state.rooted),
        toggle('hide imports', 'hide-imports', state.hideImports),
        toggle('hide libraries', 'hide-libraries', state.hideLibraries),
        toggle('inside out', 'inverted', state.inverted),
        h('label', {}, 'Search ', search),
        toggle('only what matches', 'only', state.onlyMatching),
        h('span', { class: 'group' }, span, whole, pin, compared, stop, back),
    );
}
