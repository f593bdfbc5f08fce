/** Writes plans of objc-shim/alloy_metal.h by hand, for tests of the shim. */
import type { PlanWords } from "../../src/runtime/metal/shim.ts";

const SLOT = 1n << 63n;

/** A value that is read from a slot when the plan is submitted. */
export interface FromSlot {
  slot: number;
}

export interface PlannedDispatch {
  pipeline: number;
  perThread?: boolean;
  barrier?: boolean;
  grid: readonly (number | FromSlot)[];
  /** Per threadgroup. */
  threads: readonly number[];
  /** A buffer's handle, with an offset, or a slot that holds both (with an offset to add). */
  buffers?: readonly (number | { handle: number; offset: number } | (FromSlot & { offset?: number }))[];
  /** i32; `f32` bits; slots as they are or, of a double, as float or double bits. */
  scalars?: readonly (number | { f32: number } | (FromSlot & { as?: "float" | "double" }))[];
}

const three = <T>(list: readonly T[], fill: T): T[] => [0, 1, 2].map((i) => list[i] ?? fill);

function float(x: number): bigint {
  return BigInt(new Uint32Array(new Float32Array([x]).buffer)[0]);
}

function encode(d: PlannedDispatch): bigint[] {
  const [x, y, z] = three(d.threads, 1).map(BigInt);
  const buffers = (d.buffers ?? []).flatMap((b) => {
    if (typeof b === "number") return [BigInt(b), 0n];
    return "slot" in b ? [SLOT | BigInt(b.slot), BigInt(b.offset ?? 0)] : [BigInt(b.handle), BigInt(b.offset)];
  });
  const scalars = (d.scalars ?? []).flatMap((s) => {
    if (typeof s === "number") return [0n, BigInt.asUintN(32, BigInt(s))];
    if ("f32" in s) return [0n, float(s.f32)];
    return [s.as === "float" ? 2n : s.as === "double" ? 3n : 1n, BigInt(s.slot)];
  });
  return [
    BigInt(d.pipeline),
    (d.perThread ? 1n : 0n) | (d.barrier ? 2n : 0n),
    ...three<number | FromSlot>(d.grid, 1).map((g) => (typeof g === "number" ? BigInt.asUintN(63, BigInt(g)) : SLOT | BigInt(g.slot))),
    x | (y << 16n) | (z << 32n),
    BigInt(buffers.length / 2) | (BigInt(scalars.length / 2) << 32n),
    ...buffers,
    ...scalars,
  ];
}

export const plan = (...dispatches: PlannedDispatch[]): PlanWords => ({
  words: BigUint64Array.from(dispatches.flatMap(encode)),
  count: dispatches.length,
});

/** Doubles and integers as slots. */
export function slots(...values: (number | bigint | { double: number })[]): BigUint64Array {
  return BigUint64Array.from(
    values.map((v) => (typeof v === "object" ? new BigUint64Array(new Float64Array([v.double]).buffer)[0] : BigInt.asUintN(64, BigInt(v)))),
  );
}
