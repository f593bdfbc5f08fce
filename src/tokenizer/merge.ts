/**
 * The merge loop that byte-level BPE, character BPE and SentencePiece's score-driven BPE have in common: of all adjacent
 * pairs that have a rank, merge the one of lowest rank (leftmost on a tie), until none is left.
 */

/** Rank and result of merging two symbols, or undefined. Asked once per pair; the table remembers. Ranks are below 2^22. */
export type PairRule = (left: number, right: number) => { rank: number; id: number } | undefined;

const NONE = 0x7fffffff;
/** Beyond this many symbols a heap finds the best pair; below, a scan is faster. */
const SCAN_LIMIT = 48;
/** The table of remembered pairs starts anew at this size, so that odd input cannot grow it without bound. */
const MAX_PAIRS = 1 << 18;
const POSITION_SCALE = 2 ** 31;

export class Merger {
  /** Open addressing, four numbers per slot: left + 1 (0: free), right, rank (NONE: no merge), id. */
  private slots = new Int32Array(4 << 12);
  private shift = 32 - 12;
  private used = 0;
  private readonly rank = new Int32Array(SCAN_LIMIT);
  private readonly into = new Int32Array(SCAN_LIMIT);

  constructor(private readonly rule: PairRule) {}

  /** Merges the first `n` symbols in place; returns how many are left. */
  merge(symbols: Int32Array, n: number): number {
    if (n < 2) return n;
    return n <= SCAN_LIMIT ? this.scan(symbols, n) : this.heap(symbols, n);
  }

  private scan(symbols: Int32Array, n: number): number {
    const { rank, into } = this;
    for (let i = 0; i + 1 < n; i++) {
      const s = this.find(symbols[i], symbols[i + 1]);
      rank[i] = this.slots[s + 2];
      into[i] = this.slots[s + 3];
    }
    for (;;) {
      let best = NONE;
      let at = -1;
      for (let i = 0; i + 1 < n; i++) {
        if (rank[i] < best) {
          best = rank[i];
          at = i;
        }
      }
      if (at < 0) return n;
      symbols[at] = into[at];
      n--;
      for (let i = at + 1; i < n; i++) {
        symbols[i] = symbols[i + 1];
        rank[i] = rank[i + 1];
        into[i] = into[i + 1];
      }
      for (let i = Math.max(0, at - 1); i <= at && i + 1 < n; i++) {
        const s = this.find(symbols[i], symbols[i + 1]);
        rank[i] = this.slots[s + 2];
        into[i] = this.slots[s + 3];
      }
    }
  }

  /** Same result in O(n log n): a heap of rank * 2^31 + position, entries checked against the current rank when popped. */
  private heap(symbols: Int32Array, n: number): number {
    const next = new Int32Array(n);
    const prev = new Int32Array(n);
    const rank = new Int32Array(n).fill(NONE);
    const into = new Int32Array(n);
    const heap = new MinHeap(2 * n);
    const update = (i: number) => {
      const j = next[i];
      rank[i] = NONE;
      if (j >= n) return;
      const s = this.find(symbols[i], symbols[j]);
      if (this.slots[s + 2] === NONE) return;
      rank[i] = this.slots[s + 2];
      into[i] = this.slots[s + 3];
      heap.push(rank[i] * POSITION_SCALE + i);
    };
    for (let i = 0; i < n; i++) {
      next[i] = i + 1;
      prev[i] = i - 1;
    }
    for (let i = 0; i + 1 < n; i++) update(i);
    while (heap.size > 0) {
      const key = heap.pop();
      const r = Math.floor(key / POSITION_SCALE);
      const i = key - r * POSITION_SCALE;
      if (rank[i] !== r) continue;
      const gone = next[i];
      symbols[i] = into[i];
      rank[gone] = NONE;
      next[i] = next[gone];
      if (next[i] < n) prev[next[i]] = i;
      update(i);
      if (prev[i] >= 0) update(prev[i]);
    }
    let count = 0;
    for (let i = 0; i < n; i = next[i]) symbols[count++] = symbols[i];
    return count;
  }

  /** Offset of the pair's slot, filled from the rule when the pair is new. */
  private find(left: number, right: number): number {
    let slots = this.slots;
    let mask = slots.length - 1;
    let i = (hash(left, right) >>> this.shift) << 2;
    while (slots[i] !== 0) {
      if (slots[i] === left + 1 && slots[i + 1] === right) return i;
      i = (i + 4) & mask;
    }
    const found = this.rule(left, right);
    if (this.used * 8 >= slots.length) {
      this.grow();
      slots = this.slots;
      mask = slots.length - 1;
      i = (hash(left, right) >>> this.shift) << 2;
      while (slots[i] !== 0) i = (i + 4) & mask;
    }
    this.used++;
    slots[i] = left + 1;
    slots[i + 1] = right;
    slots[i + 2] = found ? found.rank : NONE;
    slots[i + 3] = found ? found.id : -1;
    return i;
  }

  private grow(): void {
    const old = this.slots;
    if (this.used >= MAX_PAIRS) {
      old.fill(0);
      this.used = 0;
      return;
    }
    const slots = new Int32Array(old.length * 2);
    this.shift--;
    for (let o = 0; o < old.length; o += 4) {
      if (old[o] === 0) continue;
      let i = (hash(old[o] - 1, old[o + 1]) >>> this.shift) << 2;
      while (slots[i] !== 0) i = (i + 4) & (slots.length - 1);
      slots.set(old.subarray(o, o + 4), i);
    }
    this.slots = slots;
  }
}

const hash = (a: number, b: number) => Math.imul(Math.imul(a, 0x9e3779b1) ^ (b + 0x7f4a7c15), 0x85ebca6b);

/** Binary heap of numbers in a fixed array. */
class MinHeap {
  size = 0;
  private readonly items: Float64Array;

  constructor(capacity: number) {
    this.items = new Float64Array(capacity);
  }

  push(key: number): void {
    const a = this.items;
    let i = this.size++;
    while (i > 0) {
      const p = (i - 1) >> 1;
      if (a[p] <= key) break;
      a[i] = a[p];
      i = p;
    }
    a[i] = key;
  }

  pop(): number {
    const a = this.items;
    const top = a[0];
    const last = a[--this.size];
    let i = 0;
    for (;;) {
      let c = 2 * i + 1;
      if (c >= this.size) break;
      if (c + 1 < this.size && a[c + 1] < a[c]) c++;
      if (a[c] >= last) break;
      a[i] = a[c];
      i = c;
    }
    a[i] = last;
    return top;
  }
}
