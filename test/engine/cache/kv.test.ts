/** Book-keeping of KV blocks under random use: the cache's own check after every move, and a plain model of what each block holds. */
import { describe, expect, test } from "bun:test";
import { KvCache, type Lease } from "../../../src/engine/cache/kv.ts";
import { commonTokens } from "../../../src/engine/cache/tree.ts";

const seed = Number(process.env.ALLOY_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
console.log(`kv seed ${seed} (ALLOY_TEST_SEED=${seed} repeats it)`);
let state = seed;
const random = (n: number): number => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * n);
};

interface Live {
  lease: Lease;
  tokens: Int32Array;
  computed: number;
}

/** A cache with the memory that a model would write to, and all that was ever computed. */
class Played {
  readonly cache: KvCache;
  readonly live: Live[] = [];
  /** Tokens computed by sequences that are over. */
  readonly ended: Int32Array[] = [];
  reused = 0;
  copies = 0;
  private readonly rows: Int32Array;

  constructor(
    blocks: number,
    private readonly block: number,
  ) {
    this.cache = new KvCache(blocks, block);
    this.rows = new Int32Array(blocks * block).fill(-1);
  }

  /** What a prompt must find as long as nothing was evicted: the longest beginning that it shares with anything computed. */
  expected(tokens: Int32Array, limit: number): number {
    const whole = (n: number): number => n - (n % this.block);
    const there = [...this.ended, ...this.live.map((s) => s.tokens.subarray(0, whole(s.computed)))];
    const longest = Math.min(limit, Math.max(0, ...there.map((t) => commonTokens(t, tokens))));
    return longest % this.block < Math.max(1, this.block >> 3) ? whole(longest) : longest;
  }

  /** Starts a sequence, and finds that the blocks which it begins on hold exactly its tokens. */
  start(tokens: Int32Array): { cached: number; begun: boolean } {
    const match = this.cache.match(tokens, tokens.length - 1);
    expect(match.tokens).toBeLessThan(tokens.length);
    const opened = this.cache.open(match, tokens.length);
    if (!opened) return { cached: match.tokens, begun: false };
    const { lease, cached, copy } = opened;
    if (copy) {
      this.rows.copyWithin(copy.to * this.block, copy.from * this.block, (copy.from + 1) * this.block);
      this.copies++;
    }
    this.reused += cached;
    expect(this.cache.covered(lease)).toBeGreaterThanOrEqual(tokens.length);
    const table = this.cache.table(lease);
    const held = Int32Array.from({ length: cached }, (_, i) => this.rows[this.row(table, i)]);
    expect(held).toEqual(tokens.slice(0, cached));
    this.live.push({ lease, tokens, computed: cached });
    this.check();
    return { cached, begun: true };
  }

  compute(s: Live, count: number): void {
    const to = Math.min(s.tokens.length, s.computed + count);
    const table = this.cache.table(s.lease);
    for (let i = s.computed; i < to; i++) this.rows[this.row(table, i)] = s.tokens[i];
    s.computed = to;
    this.cache.commit(s.lease, s.tokens, to);
    this.check();
  }

  /** The sequence goes on with these tokens; false when there is no room. */
  extend(s: Live, tokens: Int32Array): boolean {
    if (!this.cache.grow(s.lease, s.tokens.length + tokens.length)) return false;
    s.tokens = Int32Array.of(...s.tokens, ...tokens);
    return true;
  }

  end(s: Live): void {
    this.live.splice(this.live.indexOf(s), 1);
    this.cache.close(s.lease, s.tokens, s.computed);
    this.ended.push(s.tokens.slice(0, s.computed));
    this.check();
  }

  run(tokens: Int32Array): number {
    const { cached, begun } = this.start(tokens);
    expect(begun).toBe(true);
    const s = this.live.at(-1)!;
    this.compute(s, tokens.length);
    this.end(s);
    return cached;
  }

  private check(): void {
    this.cache.check(this.live.map((s) => s.lease));
  }

  private row(table: Int32Array, i: number): number {
    return table[Math.floor(i / this.block)] * this.block + (i % this.block);
  }
}

const few = (n: number): Int32Array => Int32Array.from({ length: n }, () => random(3));

/** A turn of a conversation: goes on from what was said before, perhaps from the middle of it. */
function nextPrompt(histories: readonly Int32Array[]): Int32Array {
  if (histories.length === 0 || random(6) === 0) return few(1 + random(30));
  const from = histories[random(histories.length)];
  const kept = random(2) === 0 ? from.length : 1 + random(from.length);
  return Int32Array.of(...from.subarray(0, kept), ...few(1 + random(12)));
}

describe.each([
  [4, 4000],
  [16, 1500],
])("branching conversations, %i tokens per block", (block, moves) => {
  test("find the longest prefix that was ever computed while there is room", () => {
    const p = new Played(20_000, block);
    const histories: Int32Array[] = [];
    for (let i = 0; i < 300; i++) {
      const tokens = nextPrompt(histories.slice(-20));
      const expected = p.expected(tokens, tokens.length - 1);
      expect(p.start(tokens).cached).toBe(expected);
      const s = p.live.at(-1)!;
      // Some prompts are cancelled in the middle, some are answered, and several run at once.
      p.compute(s, random(4) === 0 ? random(tokens.length) : tokens.length);
      if (s.computed === s.tokens.length && p.extend(s, few(random(20)))) p.compute(s, s.tokens.length);
      histories.push(s.tokens);
      while (p.live.length > 3) p.end(p.live[random(p.live.length)]);
    }
    expect(p.cache.evictions).toBe(0);
    expect(p.copies).toBeGreaterThan(50);
  });

  test("in a small cache, never more than that, and never another's tokens", () => {
    const p = new Played(24, block);
    const histories: Int32Array[] = [];
    for (let move = 0; move < moves; move++) {
      const what = random(4);
      if (what === 0 && p.live.length < 5) {
        const tokens = nextPrompt(histories.slice(-12)).slice(0, 10 * block);
        const expected = p.expected(tokens, tokens.length - 1);
        expect(p.start(tokens).cached).toBeLessThanOrEqual(expected);
      } else if (what === 1 && p.live.length > 0) {
        const s = p.live[random(p.live.length)];
        p.compute(s, 1 + random(2 * block));
        if (s.computed === s.tokens.length && s.computed < 10 * block) p.extend(s, few(1 + random(5)));
      } else if (what === 2 && p.live.length > 0) {
        const s = p.live[random(p.live.length)];
        histories.push(s.tokens);
        p.end(s);
      }
    }
    expect(p.reused).toBeGreaterThan(100);
    expect(p.copies).toBeGreaterThan(10);
    expect(p.cache.evictions).toBeGreaterThan(100);
    while (p.live.length > 0) p.end(p.live[0]);
    expect(p.cache.available).toBe(24);
  });
});

describe("what stays", () => {
  const conversation = (n: number, first: number): Int32Array => Int32Array.from({ length: n }, (_, i) => first + (i % 7));

  test("side requests take free blocks, not those of a conversation", () => {
    const p = new Played(64, 4);
    const long = conversation(100, 10);
    p.run(long);
    for (let i = 0; i < 4; i++) p.run(conversation(30, 1000 * (i + 1)));
    expect(p.cache.evictions).toBe(0);
    expect(p.run(Int32Array.of(...long, 1))).toBe(100);
  });

  test("the least recently used goes first, from its end", () => {
    const p = new Played(30, 4);
    const [a, b] = [conversation(40, 100), conversation(40, 200)];
    p.run(a);
    p.run(b);
    p.run(Int32Array.of(...a, 1));
    p.run(conversation(40, 300));
    expect(p.cache.match(a, 40).tokens).toBe(40);
    const left = p.cache.match(b, 40).tokens;
    expect(left).toBeLessThan(40);
    expect(left).toBeGreaterThan(0);
  });

  test("a prompt that is there but for its last token, in a cache that has no other block to copy to", () => {
    const p = new Played(4, 4);
    const tokens = conversation(15, 1);
    p.run(tokens);
    expect(p.cache.match(tokens, 14).tokens).toBe(14);
    const { begun } = p.start(tokens);
    expect(begun).toBe(true);
    expect(p.live[0].computed).toBe(14);
    p.compute(p.live[0], 1);
    p.end(p.live[0]);
  });
});

test("the check finds what is wrong", () => {
  const cache = new KvCache(4, 2);
  const tokens = Int32Array.of(1, 2, 3);
  const { lease } = cache.open(cache.match(tokens, 2), 3)!;
  expect(() => cache.check([])).toThrow("is nowhere");
  expect(() => cache.check([lease, lease])).toThrow("in two places");
  cache.commit(lease, tokens, 3);
  cache.check([lease]);
  expect(() => cache.check([{ ...lease, count: 1 }])).toThrow("is nowhere");
  expect(() => cache.check([{ ...lease, nodes: [] }])).toThrow("in two places");
});

test("nothing is taken when there are too few blocks", () => {
  const cache = new KvCache(3, 4);
  const tokens = new Int32Array(20);
  expect(cache.open(cache.match(tokens, 19), 13)).toBeUndefined();
  expect(cache.open(cache.match(tokens, 19), 8, 2)).toBeUndefined();
  const { lease } = cache.open(cache.match(tokens, 19), 4)!;
  expect(cache.grow(lease, 13)).toBe(false);
  expect(cache.available).toBe(2);
  expect(cache.grow(lease, 12)).toBe(true);
  expect(cache.available).toBe(0);
  cache.close(lease, tokens, 0);
  expect(cache.available).toBe(3);
});
