// What frames are called: one table for a recording and its baseline, so that what is called alike is one thing.

import { GROUPINGS, type Groups, type Recording } from './blob';

export class Labels {
    readonly name: string[] = [];
    readonly file: string[] = [];
    readonly text: string[] = [];
    /** The line of source, by label, where it was kept. */
    readonly source: (string | null)[] = [];
    /** The colour of a label: the kind of its row, or else whose code it is. */
    readonly hue: number[] = [];
    private readonly known = new Map<string, number>();
    private order: Uint32Array | null = null;

    of(name: string, file: string | null, line: number | null, hue: number): number {
        const whole = file === null ? name : line === null ? `${name} (${file})` : `${name} (${file}:${line})`;
        const text = whole.trim() ? whole : '?';
        const key = `${text}\n${name}`;
        const known = this.known.get(key);
        if (known !== undefined) return known;
        this.known.set(key, this.text.length);
        this.name.push(name);
        this.file.push(file ?? '');
        this.text.push(text);
        this.hue.push(hue);
        this.order = null;
        return this.text.length - 1;
    }

    /** Gives the labels of a recording their places in this table. */
    adopt(recording: Recording): void {
        const groups: Groups = recording.head.groups;
        const places: number[] = [];
        for (const by of GROUPINGS) {
            groups.by[by].forEach((label, row) => {
                const hue = groups.kinds[row] ? 4 + groups.kinds[row]! : groups.whose[row]!;
                places[label] ??= this.of(groups.names[label]!, groups.files[label]!, groups.lines[label]!, hue);
            });
            groups.by[by] = groups.by[by].map((label) => places[label]!);
        }
        groups.sources.forEach((source, row) => (this.source[groups.by.line[row]!] = source));
    }

    /** Where each label stands in the order of names. */
    get rank(): Uint32Array {
        if (!this.order) {
            const sorted = this.text.map((_, n) => n).sort((a, b) => (this.text[a]! < this.text[b]! ? -1 : 1));
            const order = new Uint32Array(sorted.length);
            sorted.forEach((label, place) => (order[label] = place));
            this.order = order;
        }
        return this.order;
    }

    /** Which labels a pattern matches; a pattern that does not compile is taken as a plain text. */
    matching(pattern: string): Uint8Array {
        const plain = pattern.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
        let compiled: RegExp;
        try {
            compiled = new RegExp(pattern, 'i');
        } catch {
            compiled = new RegExp(plain, 'i');
        }
        return Uint8Array.from(this.text, (text) => (pattern && compiled.test(text) ? 1 : 0));
    }
}
