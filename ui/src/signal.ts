// Values that know who looked at them: when one changes, what was computed of it is stale, and what was done with it is done again.
//
// Design constraints: a library for this takes a tenth of what the whole script may weigh, for much that a page does not need.

type Lookers = Set<Looker>;

/** Who looks at values just now. */
let looking: Looker | null = null;
/** What has to be done again, and whether that is going on. */
const due = new Set<() => void>();
let busy = false;

/** Somebody who looks at values, and is told when one of those that it looked at last changes. */
class Looker {
    readonly at = new Set<Lookers>();

    constructor(readonly told: () => void) {}

    look<T>(run: () => T): T {
        for (const lookers of this.at) lookers.delete(this);
        this.at.clear();
        const before = looking;
        looking = this;
        try {
            return run();
        } finally {
            looking = before;
        }
    }
}

function note(lookers: Lookers): void {
    if (!looking) return;
    lookers.add(looking);
    looking.at.add(lookers);
}

function tell(lookers: Lookers): void {
    for (const looker of lookers) looker.told();
}

/** A value that is set. */
export class Signal<T> {
    private readonly lookers: Lookers = new Set();

    constructor(private its: T) {}

    get now(): T {
        note(this.lookers);
        return this.its;
    }

    set now(next: T) {
        if (next === this.its) return;
        this.its = next;
        tell(this.lookers);
        if (busy) return;
        busy = true;
        try {
            for (const run of due) {
                due.delete(run);
                run();
            }
        } finally {
            busy = false;
        }
    }

    /** What it is now, whoever looks at it, and whether or not it changes later. */
    peek(): T {
        return this.its;
    }
}

/** A value that is made of others, when somebody wants it. */
export class Computed<T> {
    private readonly lookers: Lookers = new Set();
    private stale = true;
    private its!: T;
    private readonly looker = new Looker(() => {
        if (this.stale) return;
        this.stale = true;
        tell(this.lookers);
    });

    constructor(private readonly make: () => T) {}

    get now(): T {
        note(this.lookers);
        if (this.stale) {
            this.its = this.looker.look(this.make);
            this.stale = false;
        }
        return this.its;
    }
}

/** Does something now, and again whenever something that it looked at has changed. */
export function effect(run: () => void): void {
    const again = () => looker.look(run);
    const looker = new Looker(() => due.add(again));
    again();
}

export const signal = <T>(value: T): Signal<T> => new Signal(value);
export const computed = <T>(make: () => T): Computed<T> => new Computed(make);
