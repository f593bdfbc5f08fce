/** Algebraic identities, one table entry per op. Adding one is a case here; it must hold for every value of the type, to the last bit. */
import { sameShape } from "../ir/ops.ts";
import type { Op, Value } from "../ir/types.ts";
import { isFloat } from "../ir/types.ts";
import type { Folder, Simpler } from "./fold.ts";
import { decide } from "./range.ts";

type Identity = (f: Folder, op: Op) => Simpler;

/** True if `v` holds `n` everywhere; on floats -0 and 0 differ. */
function is(f: Folder, v: Value, n: number): boolean {
  const x = f.number(v);
  return x !== undefined && (typeof x === "bigint" ? x === BigInt(n) : Object.is(x, n));
}

const floats = (op: Op): boolean => isFloat(op.results[0].type.dtype);
const zero = (op: Op): Simpler => ({ constant: op.results[0].type.dtype.endsWith("64") && !floats(op) ? 0n : 0 });

/** The operand of the operand, if that is the same op. */
function inner(f: Folder, op: Op, name = op.op): Value | undefined {
  const d = f.definition(op.args[0]);
  return d?.op === name ? d.args[0] : undefined;
}

/** Order of axes of a transpose: of two axes the other way round, of more (lockstep form) as it says. */
const axesOf = (op: Op): readonly number[] => (op.attrs.axes as readonly number[] | undefined) ?? [1, 0];

/** A value that only spreads one number: what a view of it shows is that number too. */
const everywhere =
  (view: Identity): Identity =>
  (f, op) => {
    const numbers = op.args.map((a) => f.number(a));
    const same = numbers[0] !== undefined && numbers.every((n) => Object.is(n, numbers[0]));
    return same ? { constant: numbers[0]! } : view(f, op);
  };

/** Shifts and additions with a neutral right operand. */
const neutralRight =
  (n: number): Identity =>
  (f, op) =>
    is(f, op.args[1], n) ? op.args[0] : undefined;

/** Both operands the same, or one of them neutral or absorbing. Integers and bools. */
function lattice(neutral: number, absorbing: number | undefined): Identity {
  return (f, op) => {
    const [a, b] = op.args;
    if (a === b) return a;
    for (const [x, other] of [
      [a, b],
      [b, a],
    ]) {
      if (is(f, x, neutral)) return other;
      if (absorbing !== undefined && is(f, x, absorbing)) return x;
    }
    return undefined;
  };
}

const comparison: Identity = (f, op) => {
  const [a, b] = op.args;
  if (a === b && !isFloat(a.type.dtype)) return { constant: ["eq", "le", "ge"].includes(op.op) ? 1 : 0 };
  const [x, y] = [f.range(a), f.range(b)];
  const known = x && y && decide(op.op, x, y);
  return known === undefined ? undefined : { constant: known ? 1 : 0 };
};

const extremum: Identity = (f, op) => {
  const [a, b] = op.args;
  if (a === b) return a;
  const [x, y] = [f.range(a), f.range(b)];
  if (!x || !y) return undefined;
  const min = op.op === "min";
  if (decide("le", x, y)) return min ? a : b;
  return decide("ge", x, y) ? (min ? b : a) : undefined;
};

export const IDENTITIES: Readonly<Record<string, Identity>> = {
  add(f, op) {
    const [a, b] = op.args;
    // x + 0 is not x for x = -0; x + -0 is.
    const neutral = floats(op) ? -0 : 0;
    if (is(f, b, neutral)) return a;
    return is(f, a, neutral) ? b : undefined;
  },
  sub(f, op) {
    if (is(f, op.args[1], 0)) return op.args[0];
    return op.args[0] === op.args[1] && !floats(op) ? zero(op) : undefined;
  },
  mul(f, op) {
    const [a, b] = op.args;
    if (is(f, b, 1)) return a;
    if (is(f, a, 1)) return b;
    return !floats(op) && (is(f, a, 0) || is(f, b, 0)) ? zero(op) : undefined;
  },
  div: neutralRight(1),
  rem: (f, op) => (!floats(op) && is(f, op.args[1], 1) ? zero(op) : undefined),
  shl: neutralRight(0),
  shr: neutralRight(0),
  and: (f, op) => lattice(op.results[0].type.dtype === "bool" ? 1 : -1, 0)(f, op),
  or: (f, op) => lattice(0, op.results[0].type.dtype === "bool" ? 1 : undefined)(f, op),
  xor(f, op) {
    const [a, b] = op.args;
    if (a === b) return zero(op);
    if (is(f, b, 0)) return a;
    return is(f, a, 0) ? b : undefined;
  },
  min: extremum,
  max: extremum,
  eq: comparison,
  ne: comparison,
  lt: comparison,
  le: comparison,
  gt: comparison,
  ge: comparison,
  neg: (f, op) => inner(f, op),
  not: (f, op) => inner(f, op),
  select(f, op) {
    const [c, a, b] = op.args;
    if (a === b) return a;
    const known = f.number(c);
    return known === undefined ? undefined : known ? a : b;
  },
  cast: (_, op) => (op.args[0].type.dtype === op.results[0].type.dtype ? op.args[0] : undefined),
  bitcast(f, op) {
    const to = op.results[0].type.dtype;
    if (op.args[0].type.dtype === to) return op.args[0];
    const x = inner(f, op);
    return x?.type.dtype === to ? x : undefined;
  },
  broadcast: everywhere((f, op) => {
    const x = inner(f, op);
    if (x) op.args = [x];
    return sameShape(op.args[0].type.shape, op.results[0].type.shape) ? op.args[0] : undefined;
  }),
  reshape: everywhere((f, op) => {
    const x = inner(f, op);
    if (x) op.args = [x];
    return sameShape(op.args[0].type.shape, op.results[0].type.shape) ? op.args[0] : undefined;
  }),
  transpose: everywhere((f, op) => {
    const before = f.definition(op.args[0]);
    if (before?.op !== "transpose") return undefined;
    const [first, then] = [axesOf(before), axesOf(op)];
    return then.every((a, i) => first[a] === i) ? before.args[0] : undefined;
  }),
  slice: everywhere((_, op) => (sameShape(op.args[0].type.shape, op.results[0].type.shape) ? op.args[0] : undefined)),
  cat: everywhere(() => undefined),
  extract: everywhere((_, op) => (op.args[0].type.shape.length === 0 ? op.args[0] : undefined)),
  reduce(f, op) {
    const kind = op.attrs.kind as string;
    const x = f.number(op.args[0]);
    if (kind.startsWith("arg"))
      return op.args[0].type.shape[op.attrs.axis as number] === 1 || x !== undefined ? { constant: 0 } : undefined;
    if (x !== undefined && kind !== "sum") return { constant: x };
    if (op.args[0].type.shape[op.attrs.axis as number] !== 1) return undefined;
    // One element per result.
    op.attrs = { shape: op.results[0].type.shape };
    op.op = "reshape";
    return IDENTITIES.reshape(f, op);
  },
  load(f, op) {
    const [offset, mask, other] = op.args;
    const known = mask && f.number(mask);
    if (known === undefined) return undefined;
    if (!known) return other ?? zero(op);
    op.args = [offset];
    return undefined;
  },
  store(f, op) {
    const [offset, value, mask] = op.args;
    if (mask && f.number(mask) === 1) op.args = [offset, value];
    return undefined;
  },
};
