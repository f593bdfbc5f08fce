/** The step's share for prompts against simulated machines. */
import { expect, test } from "bun:test";
import { LEAST_TOKENS, StepBudget } from "../../src/engine/step-budget.ts";

const seed = Number(process.env.ALLOY_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
console.log(`step budget seed ${seed} (ALLOY_TEST_SEED=${seed} repeats it)`);
let state = seed;
const random = (): number => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
};

interface Machine {
  /** Milliseconds of a step that only decodes, and of a prompt's token more. */
  base: number;
  perToken: number;
  /** Steps take up to this part longer or shorter. */
  noise?: number;
  most?: number;
}

/** Steps of a machine on which 8 requests decode, every other one with a prompt's chunk: what those took, and how large they were. */
function run(budget: StepBudget, { base, perToken, noise = 0 }: Machine, steps: number): { ms: number; tokens: number }[] {
  const seen: { ms: number; tokens: number }[] = [];
  for (let i = 0; i < steps; i++) {
    const tokens = i % 2 === 0 ? 0 : budget.tokens(8);
    const ms = (base + perToken * tokens) * (1 + noise * (2 * random() - 1));
    budget.observe(ms, 8, tokens);
    if (tokens > 0) seen.push({ ms, tokens });
  }
  return seen;
}

test("chunks grow and shrink to what the target allows", () => {
  for (const [machine, expected] of [
    [{ base: 20, perToken: 1 }, 80],
    [{ base: 20, perToken: 4 }, 20],
    [{ base: 2, perToken: 0.01 }, 248],
    // A step without prompts takes most of the target: prompts get as much time again.
    [{ base: 200, perToken: 4 }, 50],
    // Far too slow: prompts go on all the same.
    [{ base: 30, perToken: 50 }, LEAST_TOKENS],
  ] as const) {
    const last = run(new StepBudget(100, 256), machine, 60).at(-1)!;
    expect(last.tokens).toBeWithin(expected - 1, expected + 1);
  }
});

test("steps stay near the target on a noisy machine", () => {
  const budget = new StepBudget(100, 512);
  const steps = run(budget, { base: 15, perToken: 0.5, noise: 0.15 }, 400).slice(5);
  expect(Math.max(...steps.map((s) => s.ms))).toBeLessThan(100 * 1.35);
  expect(steps.reduce((n, s) => n + s.tokens, 0) / steps.length).toBeGreaterThan(100);
});

test("one step that takes seconds changes little, a machine that became slow much", () => {
  const budget = new StepBudget(100, 512);
  run(budget, { base: 10, perToken: 0.5 }, 40);
  const before = budget.tokens(8);
  budget.observe(10_000, 8, before);
  expect(budget.tokens(8)).toBeGreaterThan(before / 4);
  run(budget, { base: 10, perToken: 0.5 }, 60);
  expect(budget.tokens(8)).toBeGreaterThan(0.9 * before);
  const slower = run(budget, { base: 20, perToken: 2 }, 20);
  expect(slower.at(-1)!.ms).toBeLessThan(105);
  expect(slower.at(-1)!.ms).toBeGreaterThan(80);
});

test("before anything is known, and when nobody waits", () => {
  const budget = new StepBudget(100, 256);
  expect(budget.tokens(8)).toBe(64);
  expect(budget.tokens(250)).toBe(6);
  expect(budget.tokens(0)).toBe(256);
  budget.observe(5000, 0, 256);
  expect(budget.tokens(0)).toBe(256);
  expect(budget.tokens(1)).toBe(LEAST_TOKENS);
});
