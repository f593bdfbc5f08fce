/** Book-keeping of KV blocks under random use: the cache's own check after every move, and a plain model of what each block holds. */
import { expect, test } from "bun:test";
import { KvCache, type Lease } from "../../../src/engine/cache/kv.ts";

const seed = Number(process.env.ALLOY_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
console.log(`kv seed ${seed} (ALLOY_TEST_SEED=${seed} repeats it)`);
let state = seed;
const random = (n: number): number => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * n);
};

test("an opened lease covers only blocks that hold exactly its tokens", () => {
  const cache = new KvCache(24, 4);
  /** What was last written to each block, as the model would. */
  const written = Array.from({ length: 24 }, () => "");
  const live: { lease: Lease; tokens: Int32Array; computed: number }[] = [];
  let reused = 0;
  for (let move = 0; move < 4000; move++) {
    const what = random(3);
    if (what === 0 && live.length < 5) {
      const tokens = Int32Array.from({ length: 4 + random(30) }, (_, i) => (i < 8 ? i : random(2)));
      const lease = cache.open(tokens, tokens.length - 1);
      const covered = cache.covered(lease);
      reused += covered;
      expect(covered).toBeLessThan(tokens.length);
      const table = cache.table(lease);
      for (let b = 0; b * 4 < covered; b++) expect(written[table[b]]).toBe(tokens.subarray(0, b * 4 + 4).join());
      live.push({ lease, tokens, computed: covered });
    } else if (what === 1 && live.length > 0) {
      const s = live[random(live.length)];
      const to = Math.min(s.tokens.length, s.computed + 1 + random(9));
      if (to > s.computed && cache.grow(s.lease, to)) {
        const table = cache.table(s.lease);
        for (let b = Math.floor(s.computed / 4); b * 4 < to; b++) written[table[b]] = s.tokens.subarray(0, Math.min(to, b * 4 + 4)).join();
        s.computed = to;
        cache.commit(s.lease, s.tokens, to);
      }
    } else if (live.length > 0) cache.close(live.splice(random(live.length), 1)[0].lease);
    cache.check(live.map((s) => s.lease));
  }
  expect(reused).toBeGreaterThan(100);
  for (const s of live.splice(0)) cache.close(s.lease);
  cache.check([]);
  expect(cache.available).toBe(24);
});

test("the check finds what is wrong", () => {
  const cache = new KvCache(4, 2);
  const lease = cache.open(Int32Array.of(1, 2, 3), 2);
  cache.grow(lease, 3);
  expect(() => cache.check([])).toThrow("is nowhere");
  expect(() => cache.check([lease, lease])).toThrow("in two places");
  cache.commit(lease, Int32Array.of(1, 2, 3), 3);
  cache.check([lease]);
  expect(() => cache.check([{ nodes: lease.nodes, own: [] }])).toThrow("is nowhere");
});

test("nothing is taken when there are too few blocks", () => {
  const cache = new KvCache(3, 4);
  const lease = cache.open(new Int32Array(20), 19);
  expect(cache.grow(lease, 13)).toBe(false);
  expect(cache.available).toBe(3);
  expect(cache.grow(lease, 12)).toBe(true);
  expect(cache.available).toBe(0);
  cache.close(lease);
  expect(cache.available).toBe(3);
});
