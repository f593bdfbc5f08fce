/** Operations among the 32 threads of a simdgroup: shuffles, votes, reductions, prefix sums, 8x8 matrices. */
import { SIMD_REDUCE_KINDS } from "../ir/ops.ts";
import type { DType, Value } from "../ir/types.ts";
import { isFloat, SIMD_WIDTH } from "../ir/types.ts";
import type { Entry, Handler } from "./arguments.ts";
import { arg, dtypeOf, entry, flag, options, pointer, tile } from "./arguments.ts";
import type { Compiler } from "./compiler.ts";
import { binary, toBool } from "./operators.ts";
import { computeType } from "./promote.ts";
import type { CallInfo, CT, Numeric, PointerValue } from "./values.ts";
import { describe, literal, runTime, UNDEFINED } from "./values.ts";
import { loadFrom, storeTo } from "./vocabulary-memory.ts";
import { laneId, threadCount } from "./vocabulary-threads.ts";

/** Checks that the kernel has threads, in whole simdgroups. */
function whole(c: Compiler, info: CallInfo): void {
  const n = threadCount(c, info);
  if (n % SIMD_WIDTH !== 0)
    c.fail(
      `${info.name} works on simdgroups of ${SIMD_WIDTH} threads, but a threadgroup has ${n}`,
      `Declare a multiple of ${SIMD_WIDTH} threads.`,
    );
}

/** An operand in a type that lanes exchange (i32, u32, f32), and the way back to its own. */
function exchanged(c: Compiler, args: CT[], info: CallInfo, forBools = true): { x: Value; back: (v: Value) => CT } {
  whole(c, info);
  const given = tile(c, args, 0, info);
  const { dtype } = given.type;
  if (dtype === "i64" || dtype === "u64" || dtype === "f64")
    c.fail(
      `${info.name} does not work on ${dtype}: lanes exchange 32 bits`,
      "Cast to a 32-bit type, or take the halves one by one.",
      info.node.arguments[0],
    );
  const to = computeType(dtype);
  if (to === dtype) return { x: given, back: runTime };
  const x = c.convert(given, to);
  return {
    x,
    back: (v) =>
      dtype === "bool" && !forBools ? runTime(v) : dtype === "bool" ? runTime(toBool(c, runTime(v))) : runTime(c.convert(v, dtype)),
  };
}

const shuffle =
  (mode: string, what: string): Handler =>
  (c, args, info) => {
    const { x, back } = exchanged(c, args, info);
    const lane = c.convert(tile(c, args, 1, info), "i32");
    if (lane.type.shape.length)
      c.fail(`${what} of ${info.name} must be one number, got ${describe(runTime(lane))}`, undefined, info.node.arguments[1]);
    return back(c.emit("simdShuffle", [x, lane], { mode }, info.name));
  };

const reduce =
  (kind: string): Handler =>
  (c, args, info) => {
    if (kind === "any" || kind === "all") {
      whole(c, info);
      return runTime(c.emit("simdReduce", [toBool(c, arg(c, args, 0, info))], { kind }, info.name));
    }
    const { x, back } = exchanged(c, args, info, kind !== "sum" && kind !== "prod");
    const bits = kind === "and" || kind === "or" || kind === "xor";
    if (bits && isFloat(x.type.dtype))
      c.fail(
        `${info.name} works on integers, got ${describe(runTime(x))}`,
        "Reinterpret the bits with al.bitcast(x, al.u32).",
        info.node.arguments[0],
      );
    return back(c.emit("simdReduce", [x], { kind }, info.name));
  };

const reduceBy: Handler = (c, args, info) => {
  const kind = args[1].kind === "literal" ? args[1].value : undefined;
  if (typeof kind !== "string" || !SIMD_REDUCE_KINDS.includes(kind))
    return c.fail(`the kind of ${info.name} must be one of ${SIMD_REDUCE_KINDS.join(", ")}, got ${describe(args[1])}`);
  return reduce(kind)(c, [args[0]], info);
};

const prefix =
  (kind: string): Handler =>
  (c, args, info) => {
    const given = options(c, args[1], ["exclusive"], info);
    const exclusive = flag(c, given.exclusive, `option exclusive of ${info.name}`);
    const { x, back } = exchanged(c, args, info, false);
    return back(c.emit("simdScan", [x], { kind, exclusive }, info.name));
  };

/** Offset of a thread's two elements of an 8x8 matrix, as i32 [2]; rows are `stride` elements apart. */
function fragmentOffset(c: Compiler, stride: Numeric, transpose: boolean): Numeric {
  const lane = runTime(laneId(c));
  const bit = (shift: number, mask: number, up: number): CT => {
    const low = binary(c, "&", binary(c, ">>", lane, literal(shift)), literal(mask));
    return up ? binary(c, "<<", low, literal(up)) : low;
  };
  const row = binary(c, "|", bit(1, 3, 0), bit(4, 1, 2));
  const col = binary(c, "|", bit(0, 1, 1), bit(3, 1, 2));
  const cols = binary(c, "+", col, runTime(c.emit("arange", [], { start: 0, n: 2 })));
  return (transpose ? binary(c, "+", binary(c, "*", cols, stride), row) : binary(c, "+", binary(c, "*", row, stride), cols)) as Numeric;
}

/** The pointer to a thread's elements of the matrix at `p`. */
function fragmentAt(c: Compiler, p: PointerValue, v: CT | undefined, info: CallInfo): PointerValue {
  whole(c, info);
  const given = options(c, v, ["stride", "transpose"], info);
  const stride = given.stride === undefined ? literal(8) : c.numeric(given.stride, `option stride of ${info.name}`);
  const offset = fragmentOffset(c, stride, flag(c, given.transpose, `option transpose of ${info.name}`));
  return { ...p, offset: binary(c, "+", p.offset, offset) as Numeric };
}

const fragment = (c: Compiler, args: CT[], i: number, info: CallInfo): Value => {
  const x = tile(c, args, i, info);
  if (x.type.shape.length === 1 && x.type.shape[0] === 2) return x;
  return c.fail(
    `argument ${i + 1} of ${info.name} must be a thread's part of an 8x8 matrix, got ${describe(runTime(x))}`,
    "Make it with al.simdLoad or al.simdMatrix.",
    info.node.arguments[i],
  );
};

const mma: Handler = (c, args, info) => {
  whole(c, info);
  const parts = [fragment(c, args, 0, info), fragment(c, args, 1, info)];
  const type: DType = c.commonType(parts.map(runTime), false);
  if (!isFloat(type) || type === "f64")
    c.fail(`${info.name} multiplies f16, bf16 or f32 matrices, got ${type}`, "Cast them, or use al.dot4 for bytes.");
  const acc = args[2] === undefined ? c.constant({ dtype: "f32", shape: [2] }, 0) : c.convert(fragment(c, args, 2, info), "f32");
  return runTime(c.emit("simdMma", [...parts.map((p) => c.convert(p, type)), acc], {}, info.name));
};

const kinds: Record<string, string> = {
  Sum: "sum",
  Prod: "prod",
  Min: "min",
  Max: "max",
  And: "and",
  Or: "or",
  Xor: "xor",
  Any: "any",
  All: "all",
};

export const SIMD: Readonly<Record<string, Entry>> = {
  simdBarrier: entry(0, 0, (c, _, info) => {
    whole(c, info);
    c.effect("simdBarrier", [], {}, info.name);
    return UNDEFINED;
  }),
  simdShuffle: entry(2, 2, shuffle("index", "the lane")),
  simdShuffleUp: entry(2, 2, shuffle("up", "the distance")),
  simdShuffleDown: entry(2, 2, shuffle("down", "the distance")),
  simdShuffleXor: entry(2, 2, shuffle("xor", "the mask")),
  simdBroadcast: entry(2, 2, shuffle("index", "the lane")),
  ...Object.fromEntries(Object.entries(kinds).map(([name, kind]) => [`simd${name}`, entry(1, 1, reduce(kind))])),
  simdReduce: entry(2, 2, reduceBy),
  simdBallot: entry(1, 1, (c, args, info) => {
    whole(c, info);
    return runTime(c.emit("simdBallot", [toBool(c, arg(c, args, 0, info))], {}, info.name));
  }),
  simdPrefixSum: entry(1, 2, prefix("sum")),
  simdPrefixProd: entry(1, 2, prefix("prod")),
  simdMatrix: entry(0, 2, (c, args, info) => {
    whole(c, info);
    const value = args[0] === undefined ? literal(0) : arg(c, args, 0, info);
    const dtype = dtypeOf(c, args[1], `argument 2 of ${info.name}`) ?? "f32";
    if (value.kind === "literal") return runTime(c.constant({ dtype, shape: [2] }, Number(value.value)));
    return runTime(c.broadcastTo(c.toValue(value, dtype), [2], info.name));
  }),
  simdLoad: entry(1, 2, (c, args, info) => loadFrom(c, fragmentAt(c, pointer(c, args, 0, info), args[1], info), undefined, info)),
  simdStore: entry(2, 3, (c, args, info) =>
    storeTo(c, fragmentAt(c, pointer(c, args, 0, info), args[2], info), runTime(fragment(c, args, 1, info)), undefined, info),
  ),
  simdMma: entry(2, 3, mma),
};
