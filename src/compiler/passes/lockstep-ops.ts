/** What each op becomes in lockstep form. */
import { scanIdentity } from "../ir/interpret-shape.ts";
import { OPS } from "../ir/ops.ts";
import type { Op, Value } from "../ir/types.ts";
import { SIMD_WIDTH } from "../ir/types.ts";
import type { Active, Lockstep } from "./lockstep.ts";

type Rule = (l: Lockstep, op: Op, active: Active) => Value | void;

/** Translates an op without regions and defines its results. */
export function translate(l: Lockstep, op: Op, active: Active): void {
  const result = rule(op)(l, op, active);
  if (result) l.define(op.results[0], result);
}

function rule(op: Op): Rule {
  const own = RULES[op.op];
  if (own) return own;
  return OPS[op.op].elementwise ? elementwise : moving;
}

/** The same op on values with thread axes, or on uniform ones. */
const elementwise: Rule = (l, op) => {
  const place = l.layout.position(l.b, op);
  if (place) return place;
  return l.varies(op.results[0])
    ? l.b.one(
        op.op,
        op.args.map((a) => l.vary(a)),
        op.attrs,
      )
    : same(l, op);
};

const same = (l: Lockstep, op: Op): Value =>
  op.op === "const"
    ? l.b.const(op.results[0].type, op.attrs.value as number | bigint | boolean)
    : l.b.one(
        op.op,
        op.args.map((a) => l.use(a)),
        op.attrs,
      );

/** Ops on the axes of a thread's tile, which stay in front of the thread axes. */
const moving: Rule = (l, op) => {
  if (!l.varies(op.results[0])) return same(l, op);
  const args = op.args.map((a) => l.vary(a));
  const { shape } = op.attrs;
  return l.b.one(op.op, args, Array.isArray(shape) ? { ...op.attrs, shape: [...(shape as number[]), ...l.layout.shape] } : op.attrs);
};

/** Mask of a memory op: the active threads and the op's own. */
function maskFor(l: Lockstep, own: Value | undefined, active: Active, shape: readonly number[]): Value | undefined {
  const mine = own && l.vary(own);
  const theirs = active.mask && l.over(active.mask, shape);
  return mine && theirs ? l.b.one("and", [theirs, mine]) : (mine ?? theirs);
}

/** Offsets of every thread; element i of local memory is followed by the other threads' elements i. */
function offsets(l: Lockstep, op: Op): Value {
  const offset = l.vary(op.args[0]);
  if (l.ir.params[op.attrs.param as number].kind !== "local") return offset;
  const { dtype, shape } = offset.type;
  const count = l.b.broadcast(l.b.const({ dtype, shape: [] }, dtype === "i64" ? BigInt(l.layout.count) : l.layout.count), shape);
  const thread = l.b.broadcast(l.b.cast(l.layout.linear(l.b), dtype), shape);
  return l.b.one("add", [l.b.one("mul", [offset, count]), thread]);
}

const load: Rule = (l, op, active) => {
  if (!l.varies(op.results[0])) return same(l, op);
  const offset = offsets(l, op);
  const mask = maskFor(l, op.args[1], active, offset.type.shape);
  const other = op.args[2] && l.vary(op.args[2]);
  return l.b.one("load", [offset, ...(mask ? [mask] : []), ...(other ? [other] : [])], { param: op.attrs.param });
};

/**
 * A store that is the same in all lanes of a simdgroup, typically masked to one of them: once per simdgroup. Not under a condition, where lanes that
 * are off hold no values.
 */
function storeByGroup(l: Lockstep, op: Op): void {
  const [offset, value, own] = op.args;
  const axis = l.layout.shape.length - 1;
  const groups = l.layout.shape.slice(0, -1);
  const first = (v: Value): Value => l.b.one("reshape", [l.b.one("slice", [l.vary(v)], { axis, start: 0, size: 1 })], { shape: groups });
  const mask = own && l.b.one("reduce", [l.vary(own)], { kind: "any", axis });
  l.b.emit("store", [first(offset), first(value), ...(mask ? [mask] : [])], { param: op.attrs.param });
}

const store: Rule = (l, op, active) => {
  const [offset, value, own] = op.args;
  const local = l.ir.params[op.attrs.param as number].kind === "local";
  if (!local && !l.varies(offset) && !l.varies(value) && (offset.type.shape.length === 0 || !own || !l.varies(own))) {
    // All threads store the same: once is enough, if anyone does.
    let mask = own && !l.varies(own) ? l.use(own) : undefined;
    const threads = own && l.varies(own) ? l.and(active.mask, l.use(own)) : active.sure ? undefined : active.mask;
    if (threads) {
      const anyone = l.b.broadcast(l.any(threads), offset.type.shape);
      mask = mask ? l.b.one("and", [mask, anyone]) : anyone;
    }
    l.b.emit("store", [l.use(offset), l.use(value), ...(mask ? [mask] : [])], { param: op.attrs.param });
    return;
  }
  if (!local && !active.mask && l.sameInLanes(offset) && l.sameInLanes(value) && offset.type.shape.length === 0) return storeByGroup(l, op);
  const at = offsets(l, op);
  const mask = maskFor(l, own, active, at.type.shape);
  l.b.emit("store", [at, l.vary(value), ...(mask ? [mask] : [])], { param: op.attrs.param });
};

const REDUCIBLE: Readonly<Record<string, string>> = { add: "sum", min: "min", max: "max" };

/** All threads' steps on one address whose old values nobody wants: combined first, then one step. */
function combined(l: Lockstep, op: Op, active: Active): void {
  const [offset, value] = op.args;
  const { dtype } = op.results[0].type;
  const mask = maskFor(l, op.attrs.masked ? op.args[2] : undefined, active, l.layout.shape);
  const kind = REDUCIBLE[op.attrs.kind as string];
  let x = l.vary(value);
  if (mask) {
    const neutral = l.b.const({ dtype, shape: [] }, scanIdentity(kind, dtype));
    x = l.b.one("select", [mask, x, l.b.broadcast(neutral, x.type.shape)]);
  }
  const flat = l.b.one("reshape", [x], { shape: [l.layout.count] });
  const total = l.b.one("reduce", [flat], { kind, axis: 0 });
  const args = [l.use(offset), total, ...(mask ? [l.any(mask)] : [])];
  l.b.one("atomic", args, { ...op.attrs, masked: mask !== undefined });
}

const atomic: Rule = (l, op, active) => {
  const masked = op.attrs.masked === true;
  const single = !l.varies(op.args[0]) && op.args[0].type.shape.length === 0;
  if (single && (op.attrs.kind as string) in REDUCIBLE && !l.used(op.results[0])) return combined(l, op, active);
  const operands = masked ? op.args.slice(0, -1) : op.args;
  const [offset, ...values] = operands.map((a) => l.vary(a));
  const mask = maskFor(l, masked ? op.args.at(-1) : undefined, active, offset.type.shape);
  const attrs = { ...op.attrs, masked: mask !== undefined };
  return l.b.one("atomic", [offset, ...values, ...(mask ? [mask] : [])], attrs);
};

/** A thread's values with its simdgroup on the last axis. */
function inLanes(l: Lockstep, x: Value, f: (x: Value) => Value): Value {
  if (l.lanesLast) return f(x);
  const own = x.type.shape.slice(0, x.type.shape.length - l.layout.shape.length);
  const rows = l.b.one("reshape", [x], { shape: [...own, l.layout.count / SIMD_WIDTH, SIMD_WIDTH] });
  const result = f(rows);
  return l.b.one("reshape", [result], { shape: x.type.shape });
}

const shuffled = (l: Lockstep, x: Value, mode: string, lane: Value | number): Value => {
  const by = typeof lane === "number" ? l.b.const({ dtype: "i32", shape: [] }, lane) : lane;
  return l.b.one("simdShuffle", [x, by], { mode });
};

const simdShuffle: Rule = (l, op) => {
  const x = l.vary(op.args[0]);
  if (!l.varies(op.args[1])) return inLanes(l, x, (v) => shuffled(l, v, op.attrs.mode as string, l.use(op.args[1])));
  const lane = l.over(l.vary(op.args[1]), x.type.shape);
  if (l.lanesLast) return shuffled(l, x, op.attrs.mode as string, lane);
  let rows!: Value;
  inLanes(l, lane, (v) => (rows = v));
  return inLanes(l, x, (v) => shuffled(l, v, op.attrs.mode as string, rows));
};

const COMBINE: Readonly<Record<string, string>> = { prod: "mul", and: "and", or: "or", xor: "xor" };

const simdReduce: Rule = (l, op) =>
  inLanes(l, l.vary(op.args[0]), (x) => {
    const kind = op.attrs.kind as string;
    const { shape } = x.type;
    const step = COMBINE[kind];
    if (!step) {
      const one = l.b.one("reduce", [x], { kind, axis: shape.length - 1 });
      return l.b.broadcast(l.b.one("reshape", [one], { shape: [...shape.slice(0, -1), 1] }), shape);
    }
    let all = x;
    for (let distance = SIMD_WIDTH / 2; distance >= 1; distance /= 2) all = l.b.one(step, [all, shuffled(l, all, "xor", distance)]);
    return all;
  });

const simdScan: Rule = (l, op) =>
  inLanes(l, l.vary(op.args[0]), (x) =>
    l.b.one("scan", [x], { kind: op.attrs.kind, axis: x.type.shape.length - 1, reverse: false, exclusive: op.attrs.exclusive }),
  );

/** Each lane's bit, then their sum. */
const simdBallot: Rule = (l, op) =>
  inLanes(l, l.vary(op.args[0]), (x) => {
    const { shape } = x.type;
    const lane = l.b.broadcast(l.b.cast(l.b.one("arange", [], { start: 0, n: SIMD_WIDTH }), "u32"), shape);
    const bits = l.b.one("shl", [l.b.cast(x, "u32"), lane]);
    const one = l.b.one("reduce", [bits], { kind: "sum", axis: shape.length - 1 });
    return l.b.broadcast(l.b.one("reshape", [one], { shape: [...shape.slice(0, -1), 1] }), shape);
  });

const simdMma: Rule = (l, op) => {
  const [a, b, c] = op.args.map((v) => l.vary(v));
  const [ra, rb, rc] = [a, b, c].map((x) => l.b.one("reshape", [x], { shape: [2, l.layout.count] }));
  return l.b.one("reshape", [l.b.one("simdMma", [ra, rb, rc], {})], { shape: c.type.shape });
};

/** Each thread's own product, written out over the inner size. */
const dot: Rule = (l, op) => {
  if (!l.varies(op.results[0])) return same(l, op);
  const [x, y, acc] = op.args.map((v) => l.vary(v));
  const [m, n] = op.results[0].type.shape;
  const threads = l.layout.shape;
  const { transposeA, transposeB } = op.attrs;
  const k = op.args[0].type.shape[transposeA ? 0 : 1];
  const full = [m, n, ...threads];
  const part = (v: Value, axis: number, start: number, shape: readonly number[]): Value => {
    const f32 = l.b.cast(l.b.one("slice", [v], { axis, start, size: 1 }), "f32");
    return l.b.broadcast(l.b.one("reshape", [f32], { shape: [...shape, ...threads] }), full);
  };
  let sum = acc;
  for (let i = 0; i < k; i++) {
    const [a, b] = [part(x, transposeA ? 0 : 1, i, [m, 1]), part(y, transposeB ? 1 : 0, i, [1, n])];
    sum = l.b.one("add", [sum, l.b.one("mul", [a, b])]);
  }
  return sum;
};

const transpose: Rule = (l, op) =>
  l.varies(op.results[0])
    ? l.b.one("transpose", [l.vary(op.args[0])], { axes: [1, 0, ...l.layout.shape.map((_, i) => i + 2)] })
    : same(l, op);

/** Joins the last axis of the threads' tiles: it is turned behind the thread axes and back. */
const cat: Rule = (l, op) => {
  if (!l.varies(op.results[0])) return same(l, op);
  const own = op.results[0].type.shape.length - 1;
  const threads = l.layout.shape.length;
  const front = Array.from({ length: own }, (_, i) => i);
  const back = [...front, ...Array.from({ length: threads }, (_, i) => own + 1 + i), own];
  const forth = [...front, own + threads, ...Array.from({ length: threads }, (_, i) => own + i)];
  const turned = op.args.map((a) => l.b.one("transpose", [l.vary(a)], { axes: back }));
  return l.b.one("transpose", [l.b.one("cat", turned)], { axes: forth });
};

const extract: Rule = (l, op) => {
  if (!l.varies(op.results[0])) return same(l, op);
  let x = l.vary(op.args[0]);
  (op.attrs.index as readonly number[]).forEach((start, axis) => (x = l.b.one("slice", [x], { axis, start, size: 1 })));
  return l.b.one("reshape", [x], { shape: l.layout.shape });
};

const place: Rule = (l, op) => (l.varies(op.results[0]) ? l.layout.position(l.b, op) : l.b.const({ dtype: "i32", shape: [] }, 0));
const nothing: Rule = () => {};

const RULES: Readonly<Record<string, Rule>> = {
  const: same,
  load,
  store,
  atomic,
  prefetch: (l, op) => (l.varies(op.args[0]) ? undefined : void l.b.emit("prefetch", [l.use(op.args[0])], op.attrs)),
  threadId: place,
  laneId: place,
  simdgroupId: place,
  barrier: nothing,
  simdBarrier: nothing,
  simdShuffle,
  simdReduce,
  simdScan,
  simdBallot,
  simdMma,
  dot,
  transpose,
  cat,
  extract,
};
