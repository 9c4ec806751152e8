// What the reader has chosen, as signals; every panel draws itself anew when what it looks at changes.

import { computed, signal } from './signal';
import { METRICS, type Grouping, type Metric, type Mode, type Recording } from './blob';
import { Labels } from './label';
import { group, invert, Tree, weighed } from './tree';
import { type Filter, type Span, weights } from './weigh';
import { max, min, round } from './number';

export class State {
    readonly labels = new Labels();
    readonly whole: Span;
    readonly mode;
    readonly unit;
    readonly by;
    readonly idle;
    readonly rooted;
    readonly thread = signal(-1);
    readonly doing = signal(-1);
    readonly hideImports = signal(false);
    readonly hideLibraries = signal(false);
    readonly inverted = signal(false);
    readonly search = signal('');
    readonly onlyMatching = signal(false);
    /** The span of time that all panels look at. */
    readonly looked;
    /** What it is compared with: another span, or the baseline recording. */
    readonly against;
    /** Turns when colours change. */
    readonly theme = signal(0);
    /** The path of labels that the flame graph is zoomed to. */
    readonly zoom = signal<readonly number[]>([]);

    readonly wanted;
    /** The shape of the recording's call tree, and of the baseline's. */
    readonly grouped;
    readonly tree;
    /** Which labels the search matches. */
    readonly matches;

    constructor(
        readonly recording: Recording,
        readonly baseline: Recording | null,
    ) {
        const { view, span } = recording.head;
        this.labels.adopt(recording);
        if (baseline) this.labels.adopt(baseline);
        this.whole = span;
        this.mode = signal<Mode>(view.mode);
        this.unit = signal<Metric>(METRICS.includes(view.metric) ? view.metric : 'time');
        this.by = signal<Grouping>(view.by);
        this.idle = signal(view.idle);
        this.rooted = signal(view.threads);
        this.looked = signal<Span>(span);
        this.against = signal<Span | 'baseline' | null>(baseline ? 'baseline' : null);
        this.wanted = computed<Filter>(() => ({
            mode: this.mode.now,
            unit: this.unit.now,
            idle: this.idle.now,
            thread: this.thread.now,
            state: this.doing.now,
        }));
        const both = baseline ? [recording, baseline] : [recording];
        this.grouped = computed(() =>
            group(both, this.labels, {
                by: this.by.now,
                hideImports: this.hideImports.now,
                hideLibraries: this.hideLibraries.now,
                only: this.onlyMatching.now ? this.search.now : '',
                rooted: this.rooted.now,
            }),
        );
        const counted = computed(() => weights(recording, this.wanted.now));
        // Threads have other numbers in the baseline, which always counts whole.
        const beside = computed(() => baseline && weights(baseline, { ...this.wanted.now, thread: -1 }));
        this.tree = computed(() => {
            const grouped = this.grouped.now;
            const its = counted.now;
            const against = this.against.now;
            const of = (span: Span) => weighed(grouped, 0, its, span);
            const other = against === 'baseline' ? weighed(grouped, 1, beside.now!, baseline!.head.span) : against && of(against);
            const tree = new Tree(grouped.shape, of(this.looked.now), other);
            return this.inverted.now ? invert(tree) : tree;
        });
        this.matches = computed(() => {
            this.grouped.now;
            return this.labels.matching(this.search.now);
        });
    }

    /** Looks at a span of time, or at all of it where the span is next to nothing. */
    look(from: number, to: number): void {
        const [a, b] = from < to ? [from, to] : [to, from];
        const clamp = (at: number) => round(min(max(at, this.whole[0]), this.whole[1]));
        this.looked.now = b - a < 1 ? this.whole : [clamp(a), clamp(b)];
    }
}
