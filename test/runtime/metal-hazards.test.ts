/** Barriers of a concurrent encoder: present where dispatches touch what others write, absent elsewhere. */
import { expect, test } from "bun:test";
import { type Access, ANYWHERE, placeBarriers } from "../../src/runtime/metal/hazards.ts";
import { random, SEED } from "../kernels/runners.ts";

const read = (start: number, end: number): Access => ({ start, end, write: false });
const write = (start: number, end: number): Access => ({ start, end, write: true });

test("reads of one buffer run side by side", () => {
  expect(
    placeBarriers([
      [read(0, 9), write(10, 20)],
      [read(0, 9), write(20, 30)],
    ]),
  ).toEqual([false, false]);
});

test("read after write, write after read, write after write", () => {
  expect(placeBarriers([[write(0, 10)], [read(5, 6)]])).toEqual([false, true]);
  expect(placeBarriers([[read(0, 10)], [write(9, 20)]])).toEqual([false, true]);
  expect(placeBarriers([[write(0, 10)], [write(9, 20)]])).toEqual([false, true]);
  expect(placeBarriers([[write(0, 10)], [read(10, 20)]])).toEqual([false, false]);
});

test("a barrier covers everything before it", () => {
  expect(placeBarriers([[write(0, 8)], [write(8, 16)], [read(0, 16)], [read(0, 8)], [read(8, 16)]])).toEqual([
    false,
    false,
    true,
    false,
    false,
  ]);
});

test("memory that is not known yet conflicts with every write", () => {
  const unknown = { ...ANYWHERE, write: false };
  expect(placeBarriers([[read(0, 8)], [unknown], [write(100, 101)], [unknown]])).toEqual([false, false, true, true]);
});

test("every conflicting pair has a barrier between, and every barrier has a conflict that needs it", () => {
  const next = random(SEED);
  for (let round = 0; round < 200; round++) {
    const dispatches = Array.from({ length: 12 }, () =>
      Array.from({ length: 1 + Math.floor(next() * 3) }, () => {
        const start = Math.floor(next() * 40);
        return { start, end: start + 1 + Math.floor(next() * 8), write: next() < 0.4 };
      }),
    );
    const barriers = placeBarriers(dispatches);
    const clash = (i: number, j: number): boolean =>
      dispatches[i].some((a) => dispatches[j].some((b) => (a.write || b.write) && a.start < b.end && b.start < a.end));
    let since = 0;
    for (let j = 0; j < dispatches.length; j++) {
      const needed = Array.from({ length: j - since }, (_, k) => clash(since + k, j)).some(Boolean);
      expect({ seed: SEED, round, j, barrier: barriers[j] }).toEqual({ seed: SEED, round, j, barrier: needed });
      if (barriers[j]) since = j;
    }
  }
});
