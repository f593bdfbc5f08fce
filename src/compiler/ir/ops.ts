/**
 * Which ops exist, how many operands they take and what type they give: the one table that builder, verifier, passes and parser read.
 * Adding an op is one entry here, one in the interpreter's table and one in every emitter's.
 */
import type { Attr, DType, Param, ValueType } from "./types.ts";
import { elements, isFloat, isInt, isMemory } from "./types.ts";

/** Broken typing rule; whoever called adds the place. */
export class TypeRuleError extends Error {}

export interface OpInfo {
  /** Fewest and most operands. */
  args: readonly [number, number];
  /** Result depends on operands and attributes only: may be removed, merged and moved. */
  pure: boolean;
  /** Element i of the result depends on element i of the operands only. */
  elementwise: boolean;
  /** Anything but a read is an effect: passes keep such ops, in their order and in the control flow around them. */
  memory?: "read" | "write" | "hint" | "atomic" | "barrier";
  /** Thread level only: depends on the thread (`thread`), or on all threads of the simdgroup, which must reach it together (`simd`). */
  level?: "thread" | "simd";
  /** Number of regions; undefined for none. */
  regions?: number;
  /** Result types; undefined for ops with regions, whose result types their regions determine. Throws TypeRuleError. */
  infer?: (args: readonly ValueType[], attrs: Readonly<Record<string, Attr>>, params: readonly Param[]) => ValueType[];
}

export const typeText = (t: ValueType): string => (t.shape.length ? `${t.dtype}[${t.shape.join(",")}]` : t.dtype);
export const sameShape = (a: readonly number[], b: readonly number[]): boolean => a.length === b.length && a.every((n, i) => n === b[i]);
export const sameType = (a: ValueType, b: ValueType): boolean => a.dtype === b.dtype && sameShape(a.shape, b.shape);

/** Arithmetic happens in these types only; narrow integers and half floats are storage types that the front end casts from and to. */
export const COMPUTE_TYPES: readonly DType[] = ["i32", "u32", "i64", "u64", "f32", "f64"];

const need = (ok: boolean, message: string): void => {
  if (!ok) throw new TypeRuleError(message);
};

const num = (attrs: Readonly<Record<string, Attr>>, key: string): number => {
  const v = attrs[key];
  need(typeof v === "number", `attribute ${key} must be a number`);
  return v as number;
};
const list = (attrs: Readonly<Record<string, Attr>>, key: string): readonly number[] => {
  const v = attrs[key];
  need(Array.isArray(v) && v.every((x) => typeof x === "number"), `attribute ${key} must be a list of numbers`);
  return v as readonly number[];
};

const isCompute = (d: DType): boolean => COMPUTE_TYPES.includes(d);
const isComputeFloat = (d: DType): boolean => d === "f32" || d === "f64";
const isComputeInt = (d: DType): boolean => isCompute(d) && isInt(d);
const isComputeIntOrBool = (d: DType): boolean => d === "bool" || isComputeInt(d);

/** Elementwise op of `n` operands of one type that `accepts` allows; the result has that type, or bool. */
function elementwise(n: number, accepts: (d: DType) => boolean, result?: "bool"): OpInfo {
  return {
    args: [n, n],
    pure: true,
    elementwise: true,
    infer: (a) => {
      need(accepts(a[0].dtype), `does not work on ${a[0].dtype}`);
      for (const t of a) need(sameType(t, a[0]), `operands differ: ${a.map(typeText).join(", ")}`);
      return [result ? { dtype: result, shape: a[0].shape } : a[0]];
    },
  };
}

const pure = (n: number, infer: NonNullable<OpInfo["infer"]>): OpInfo => ({ args: [n, n], pure: true, elementwise: false, infer });

const table = (names: string, info: OpInfo): Record<string, OpInfo> => Object.fromEntries(names.split(" ").map((n) => [n, info]));

function memory(kind: NonNullable<OpInfo["memory"]>, args: readonly [number, number], infer: NonNullable<OpInfo["infer"]>): OpInfo {
  return { args, pure: false, elementwise: false, memory: kind, infer };
}

/** Checks offset and mask of a memory op and returns its parameter. */
function access(
  a: readonly ValueType[],
  mask: ValueType | undefined,
  attrs: Readonly<Record<string, Attr>>,
  params: readonly Param[],
): Param {
  const p = params[num(attrs, "param")];
  need(p !== undefined && isMemory(p), `parameter ${num(attrs, "param")} is no pointer`);
  need(a[0].dtype === "i32" || a[0].dtype === "i64", `offset must be i32 or i64, is ${typeText(a[0])}`);
  if (mask) need(mask.dtype === "bool" && sameShape(mask.shape, a[0].shape), `mask is ${typeText(mask)}, offset ${typeText(a[0])}`);
  return p;
}

const bytesOp = (n: number): OpInfo => ({
  args: [n, n],
  pure: true,
  elementwise: true,
  infer: (a) => {
    for (const t of a)
      need(sameType(t, { dtype: "i32", shape: a[0].shape }), `operands must be i32 of one shape, are ${a.map(typeText).join(", ")}`);
    return [a[0]];
  },
});

/** Shape that `a` and `b` broadcast to as in NumPy, or undefined. */
export function broadcastShapes(a: readonly number[], b: readonly number[]): number[] | undefined {
  const out: number[] = [];
  for (let i = 1; i <= Math.max(a.length, b.length); i++) {
    const x = a[a.length - i] ?? 1;
    const y = b[b.length - i] ?? 1;
    if (x !== y && x !== 1 && y !== 1) return undefined;
    out.unshift(x === 1 ? y : x);
  }
  return out;
}

const REDUCE_KINDS = ["sum", "max", "min", "argmax", "argmin", "any", "all"];
export const SCAN_KINDS: readonly string[] = ["sum", "prod", "max", "min"];

/** What exists between lanes on every target: 32 bits. */
export const SIMD_TYPES: readonly DType[] = ["i32", "u32", "f32"];
export const SIMD_REDUCE_KINDS: readonly string[] = ["sum", "prod", "min", "max", "and", "or", "xor", "any", "all"];

/** Types that each kind of atomic works on; 64 bits only where the target has them. */
export const ATOMIC_TYPES: Readonly<Record<string, readonly DType[]>> = {
  ...Object.fromEntries(["add", "min", "max", "xchg", "cas"].map((k) => [k, ["i32", "u32", "f32", "i64", "u64"] as const])),
  ...Object.fromEntries(["and", "or", "xor"].map((k) => [k, ["i32", "u32", "i64", "u64"] as const])),
};

/** An op that all threads of a simdgroup run together: never moved or merged, removed only if nobody needs the result. */
const simd = (n: number, infer: NonNullable<OpInfo["infer"]>): OpInfo => ({
  args: [n, n],
  pure: false,
  elementwise: false,
  level: "simd",
  infer,
});

/** Old value: where the mask is off, 0. */
const inferAtomic: NonNullable<OpInfo["infer"]> = (a, at, params) => {
  const kind = at.kind as string;
  need(Object.hasOwn(ATOMIC_TYPES, kind), `unknown atomic ${kind}`);
  const masked = at.masked === true;
  const count = (kind === "cas" ? 3 : 2) + (masked ? 1 : 0);
  need(a.length === count, `${kind} takes ${count} operands, got ${a.length}`);
  const p = access(a, masked ? a.at(-1) : undefined, at, params);
  need(p.kind !== "local", `memory of one thread needs no atomics`);
  need(ATOMIC_TYPES[kind].includes(p.dtype), `${kind} does not work on ${p.dtype}`);
  const type = { dtype: p.dtype, shape: a[0].shape };
  for (const t of a.slice(1, masked ? -1 : undefined)) need(sameType(t, type), `operand is ${typeText(t)}, target ${typeText(type)}`);
  return [type];
};

export const OPS: Readonly<Record<string, OpInfo>> = {
  // The result type of a constant is given where it is built.
  const: { args: [0, 0], pure: true, elementwise: false },
  programId: pure(0, () => [{ dtype: "i32", shape: [] }]),
  numPrograms: pure(0, () => [{ dtype: "i32", shape: [] }]),
  arange: pure(0, (_, at) => [{ dtype: "i32", shape: [num(at, "n")] }]),
  broadcast: pure(1, ([x], at) => {
    const shape = list(at, "shape");
    const to = broadcastShapes(x.shape, shape);
    need(to !== undefined && sameShape(to, shape), `${typeText(x)} does not broadcast to [${shape.join(",")}]`);
    return [{ dtype: x.dtype, shape }];
  }),
  reshape: pure(1, ([x], at) => {
    const shape = list(at, "shape");
    need(
      elements(shape) === elements(x.shape),
      `${typeText(x)} has ${elements(x.shape)} elements, [${shape.join(",")}] ${elements(shape)}`,
    );
    return [{ dtype: x.dtype, shape }];
  }),
  transpose: pure(1, ([x], at) => {
    if (at.axes !== undefined) {
      // Lockstep form: result axis i is axes[i] of the operand.
      const axes = list(at, "axes");
      need(
        sameShape(
          [...axes].sort((a, b) => a - b),
          x.shape.map((_, i) => i),
        ),
        `[${axes.join(",")}] is no order of the axes of ${typeText(x)}`,
      );
      return [{ dtype: x.dtype, shape: axes.map((a) => x.shape[a]) }];
    }
    need(x.shape.length === 2, `needs a 2-D tile, got ${typeText(x)}`);
    return [{ dtype: x.dtype, shape: [x.shape[1], x.shape[0]] }];
  }),
  cat: pure(2, ([a, b]) => {
    const lead = a.shape.slice(0, -1);
    const ok = a.dtype === b.dtype && a.shape.length > 0 && sameShape(lead, b.shape.slice(0, -1)) && b.shape.length === a.shape.length;
    need(ok, `cannot join ${typeText(a)} and ${typeText(b)} on the last axis`);
    return [{ dtype: a.dtype, shape: [...lead, a.shape.at(-1)! + b.shape.at(-1)!] }];
  }),
  slice: pure(1, ([x], at) => {
    const [axis, start, size] = [num(at, "axis"), num(at, "start"), num(at, "size")];
    need(axis >= 0 && axis < x.shape.length, `axis ${axis} of ${typeText(x)}`);
    need(start >= 0 && size > 0 && start + size <= x.shape[axis], `[${start}, ${start + size}) is outside axis ${axis} of ${typeText(x)}`);
    return [{ dtype: x.dtype, shape: x.shape.map((n, i) => (i === axis ? size : n)) }];
  }),
  extract: pure(1, ([x], at) => {
    const index = list(at, "index");
    need(index.length === x.shape.length, `${index.length} indices for ${typeText(x)}`);
    index.forEach((i, axis) => need(i >= 0 && i < x.shape[axis], `index ${i} is outside axis ${axis} of ${typeText(x)}`));
    return [{ dtype: x.dtype, shape: [] }];
  }),
  load: memory("read", [1, 3], (a, at, params) => {
    const p = access(a, a[1], at, params);
    const result = { dtype: p.dtype, shape: a[0].shape };
    if (a[2]) need(sameType(a[2], result), `value for masked elements is ${typeText(a[2])}, result ${typeText(result)}`);
    return [result];
  }),
  store: memory("write", [2, 3], (a, at, params) => {
    const p = access(a, a[2], at, params);
    const stored = { dtype: p.dtype, shape: a[0].shape };
    need(sameType(a[1], stored), `stored value is ${typeText(a[1])}, target ${typeText(stored)}`);
    return [];
  }),
  prefetch: memory("hint", [1, 1], (a, at, params) => {
    access(a, undefined, at, params);
    return [];
  }),
  ...table("neg abs", elementwise(1, isCompute)),
  ...table("exp exp2 log log2 sin cos tanh sqrt rsqrt floor ceil round trunc erf", elementwise(1, isComputeFloat)),
  ...table("not", elementwise(1, isComputeIntOrBool)),
  ...table("add sub mul div rem min max", elementwise(2, isCompute)),
  ...table("pow", elementwise(2, isComputeFloat)),
  ...table("and or xor", elementwise(2, isComputeIntOrBool)),
  ...table("shl shr", elementwise(2, isComputeInt)),
  ...table("eq ne lt le gt ge", elementwise(2, isCompute, "bool")),
  fma: elementwise(3, isComputeFloat),
  select: {
    args: [3, 3],
    pure: true,
    elementwise: true,
    infer: ([c, a, b]) => {
      const ok = c.dtype === "bool" && sameType(a, b) && sameShape(c.shape, a.shape);
      need(ok, `cannot choose between ${typeText(a)} and ${typeText(b)} by ${typeText(c)}`);
      return [a];
    },
  },
  cast: { args: [1, 1], pure: true, elementwise: true, infer: ([x], at) => [{ dtype: at.to as DType, shape: x.shape }] },
  bitcast: { args: [1, 1], pure: true, elementwise: true, infer: ([x], at) => [{ dtype: at.to as DType, shape: x.shape }] },
  reduce: pure(1, ([x], at) => {
    const axis = num(at, "axis");
    const kind = at.kind as string;
    need(REDUCE_KINDS.includes(kind), `unknown reduction ${kind}`);
    need(axis >= 0 && axis < x.shape.length, `axis ${axis} of ${typeText(x)}`);
    const logical = kind === "any" || kind === "all";
    need(logical ? x.dtype === "bool" : isCompute(x.dtype), `${kind} does not work on ${x.dtype}`);
    return [{ dtype: kind.startsWith("arg") ? "i32" : x.dtype, shape: x.shape.filter((_, i) => i !== axis) }];
  }),
  dot: pure(3, ([a, b, acc], at) => {
    need(a.shape.length === 2 && b.shape.length === 2, `needs 2-D tiles, got ${typeText(a)} and ${typeText(b)}`);
    need(
      a.dtype === b.dtype && isFloat(a.dtype) && a.dtype !== "f64",
      `multiplies f16, bf16 or f32 tiles of one type, got ${a.dtype} and ${b.dtype}`,
    );
    const [m, k] = at.transposeA ? [a.shape[1], a.shape[0]] : a.shape;
    const [k2, n] = at.transposeB ? [b.shape[1], b.shape[0]] : b.shape;
    need(k === k2, `inner sizes differ: ${k} of ${typeText(a)} and ${k2} of ${typeText(b)}`);
    const result: ValueType = { dtype: "f32", shape: [m, n] };
    need(sameType(acc, result), `accumulator is ${typeText(acc)}, result ${typeText(result)}`);
    return [result];
  }),
  dot4: bytesOp(3),
  dot2: bytesOp(3),
  dotPairs: bytesOp(3),
  byteSign: bytesOp(2),
  byteLookup: {
    ...bytesOp(1),
    infer: (a, at, params) => {
      need(list(at, "table").length === 16, "the table needs 16 integers");
      return bytesOp(1).infer!(a, at, params);
    },
  },
  pack4: bytesOp(4),
  scan: pure(1, ([x], at) => {
    const axis = num(at, "axis");
    need(SCAN_KINDS.includes(at.kind as string), `unknown scan ${String(at.kind)}`);
    need(axis >= 0 && axis < x.shape.length, `axis ${axis} of ${typeText(x)}`);
    need(isCompute(x.dtype), `a scan does not work on ${x.dtype}`);
    need(typeof at.reverse === "boolean" && typeof at.exclusive === "boolean", "attributes reverse and exclusive must be booleans");
    return [x];
  }),
  atomic: memory("atomic", [2, 4], inferAtomic),

  threadId: { ...pure(0, () => [{ dtype: "i32", shape: [] }]), level: "thread" },
  laneId: { ...pure(0, () => [{ dtype: "i32", shape: [] }]), level: "thread" },
  simdgroupId: { ...pure(0, () => [{ dtype: "i32", shape: [] }]), level: "thread" },
  barrier: {
    ...memory("barrier", [0, 0], (_, at) => {
      need(["shared", "device", "both"].includes(at.scope as string), `unknown scope ${String(at.scope)}`);
      return [];
    }),
    level: "thread",
  },
  simdBarrier: { ...memory("barrier", [0, 0], () => []), level: "simd" },
  // Operands may be tiles of one thread; the lane is one number, or in lockstep form one per element.
  simdShuffle: simd(2, ([x, lane], at) => {
    need(["index", "up", "down", "xor"].includes(at.mode as string), `unknown mode ${String(at.mode)}`);
    need(SIMD_TYPES.includes(x.dtype), `does not work on ${x.dtype}`);
    need(lane.dtype === "i32" && (lane.shape.length === 0 || sameShape(lane.shape, x.shape)), `lane is ${typeText(lane)}, must be one i32`);
    return [x];
  }),
  simdReduce: simd(1, ([x], at) => {
    const kind = at.kind as string;
    need(SIMD_REDUCE_KINDS.includes(kind), `unknown reduction ${kind}`);
    const logical = kind === "any" || kind === "all";
    const bits = kind === "and" || kind === "or" || kind === "xor";
    need(
      logical ? x.dtype === "bool" : SIMD_TYPES.includes(x.dtype) && !(bits && x.dtype === "f32"),
      `${kind} does not work on ${x.dtype}`,
    );
    return [x];
  }),
  simdScan: simd(1, ([x], at) => {
    need(at.kind === "sum" || at.kind === "prod", `unknown scan ${String(at.kind)}`);
    need(typeof at.exclusive === "boolean", "attribute exclusive must be a boolean");
    need(SIMD_TYPES.includes(x.dtype), `does not work on ${x.dtype}`);
    return [x];
  }),
  simdBallot: simd(1, ([x]) => {
    need(x.dtype === "bool", `does not work on ${x.dtype}`);
    return [{ dtype: "u32", shape: x.shape }];
  }),
  // Fragments of 8x8 matrices: two elements a thread, on the first axis.
  simdMma: simd(3, ([a, b, c]) => {
    const types = `${typeText(a)}, ${typeText(b)} and ${typeText(c)}`;
    need(sameType(a, b) && isFloat(a.dtype) && a.dtype !== "f64", `multiplies f16, bf16 or f32 fragments of one type, got ${types}`);
    need(
      a.shape[0] === 2 && a.shape.length <= 2 && sameType(c, { dtype: "f32", shape: a.shape }),
      `fragments have two elements, got ${types}`,
    );
    return [c];
  }),
  for: { args: [3, Infinity], pure: false, elementwise: false, regions: 1 },
  if: { args: [1, 1], pure: false, elementwise: false, regions: 2 },
  while: { args: [0, Infinity], pure: false, elementwise: false, regions: 2 },
  yield: { args: [0, Infinity], pure: false, elementwise: false },
};
