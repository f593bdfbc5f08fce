/** Which bytes of a file are there: a set of half-open ranges, kept sorted and merged. */

export type Range = readonly [start: number, end: number];

export class Ranges {
  #list: [number, number][] = [];
  #bytes = 0;

  /** @param ranges in any order; empty and overlapping ones are fine */
  constructor(ranges: readonly Range[] = []) {
    for (const [start, end] of ranges) this.add(start, end);
  }

  /** Bytes in all. */
  get bytes(): number {
    return this.#bytes;
  }

  /** End of the range that starts at 0; 0 when the first byte is missing. */
  get front(): number {
    return this.#list[0]?.[0] === 0 ? this.#list[0][1] : 0;
  }

  get list(): readonly Range[] {
    return this.#list;
  }

  add(start: number, end: number): void {
    if (end <= start) return;
    const touching = this.#list.filter(([s, e]) => s <= end && e >= start);
    const merged: [number, number] = [Math.min(start, ...touching.map(([s]) => s)), Math.max(end, ...touching.map(([, e]) => e))];
    this.#list = [...this.#list.filter((r) => !touching.includes(r)), merged].toSorted((a, b) => a[0] - b[0]);
    this.#bytes = this.#list.reduce((n, [s, e]) => n + e - s, 0);
  }

  clear(): void {
    this.#list = [];
    this.#bytes = 0;
  }

  /** What is missing of a file of `size` bytes, in pieces of at most `pieceBytes`, from the front. */
  gaps(size: number, pieceBytes: number): Range[] {
    const found: Range[] = [];
    let at = 0;
    for (const [start, end] of [...this.#list, [size, size] as const]) {
      for (; at < Math.min(start, size); at += pieceBytes) found.push([at, Math.min(at + pieceBytes, start, size)]);
      at = end;
    }
    return found;
  }
}
