/** C expressions of elementwise ops on one vector (or scalar), and the symbolic forms of index arithmetic and masks. */
import type { DType, Op, Value } from "../../ir/types.ts";
import { elements, isFloat, isInt } from "../../ir/types.ts";
import { AlloyError } from "../../../support/errors.ts";
import { dotFunction } from "./dot-bytes.ts";
import type { Emitter } from "./emitter.ts";
import type { Lin, Rep } from "./values.ts";
import { addLin, cName, isConstLin, isZero, key, lin, linText, memoryType, mulLin, negLin, storedType, vectorType } from "./values.ts";

const INFIX: Record<string, string> = { add: "+", sub: "-", mul: "*", and: "&", or: "|", xor: "^" };
const COMPARE: Record<string, string> = { eq: "==", ne: "!=", lt: "<", le: "<=", gt: ">", ge: ">=" };
export const ELEMENTWISE = new Set([
  ..."neg abs exp exp2 log log2 sin cos tanh sqrt rsqrt floor ceil round trunc erf not add sub mul div rem min max and or xor shl shr pow".split(
    " ",
  ),
  ..."eq ne lt le gt ge fma select cast bitcast dot4 dot2 dotPairs byteSign byteLookup pack4".split(" "),
]);

/** The literal of a constant. */
export function literal(dtype: DType, value: number | bigint | boolean): string {
  if (dtype === "bool") return value ? "1" : "0";
  if (dtype === "f16" || dtype === "bf16") {
    const f = Number(value);
    const bits = new Uint16Array(1);
    if (dtype === "f16") new DataView(bits.buffer).setFloat16(0, f, true);
    else return bf16Bits(f);
    return `${bits[0]}`;
  }
  if (dtype === "f32" || dtype === "f64") return floatLiteral(dtype, Number(value));
  if (dtype === "i64" || dtype === "u64") {
    const b = dtype === "i64" ? BigInt.asIntN(64, BigInt(value)) : BigInt.asUintN(64, BigInt(value));
    return dtype === "u64" ? `${b}ull` : b === -(2n ** 63n) ? "(-9223372036854775807ll - 1)" : b < 0n ? `(${b}ll)` : `${b}ll`;
  }
  if (dtype === "u32") return `${Number(value) >>> 0}u`;
  const n = Number(value);
  return n === -2147483648 ? "(-2147483647 - 1)" : n < 0 ? `(${n})` : `${n}`;
}

function bf16Bits(f: number): string {
  const u = new Uint32Array(new Float32Array([f]).buffer)[0];
  return Number.isNaN(f) ? "32704" : `${((u + 0x7fff + ((u >>> 16) & 1)) >>> 16) & 0xffff}`;
}

function floatLiteral(dtype: "f32" | "f64", x: number): string {
  const f = dtype === "f32" ? Math.fround(x) : x;
  if (Number.isNaN(f)) return dtype === "f32" ? "float_u32x1(0x7fc00000u)" : "(0.0 / 0.0)";
  if (f === Infinity || f === -Infinity)
    return dtype === "f32" ? `float_u32x1(${f > 0 ? "0x7f800000u" : "0xff800000u"})` : `(${f < 0 ? "-" : ""}1.0 / 0.0)`;
  let text = String(Math.abs(f));
  if (!/[.e]/.test(text)) text += ".0";
  text += dtype === "f32" ? "f" : "";
  return f < 0 || Object.is(f, -0) ? `(-${text})` : text;
}

/** The expression of an elementwise op on operands given as C expressions of width w. */
export function expression(e: Emitter, op: Op, w: number, args: readonly string[]): string {
  const [a, b, c] = args;
  const from = op.args[0].type.dtype;
  const to = op.results[0].type.dtype;
  const T = vectorType(from, w);
  const cmp = COMPARE[op.op];
  if (cmp) {
    if (w === 1) return `(${a} ${cmp} ${b})`;
    return from === "i64" || from === "u64" || from === "f64"
      ? `__builtin_convertvector(${a} ${cmp} ${b}, i32x${w})`
      : `(i32x${w})(${a} ${cmp} ${b})`;
  }
  const infix = INFIX[op.op];
  if (infix)
    return from === "i32" && w === 1 && "+-*".includes(infix)
      ? `(int32_t)((uint32_t)${a} ${infix} (uint32_t)${b})`
      : `(${a} ${infix} ${b})`;
  switch (op.op) {
    case "neg":
      return `(-${a})`;
    case "not":
      return from === "bool" && w === 1 ? `!${a}` : `(~${a})`;
    case "abs":
      if (isFloat(from)) return `abs_${T}(${a})`;
      return from[0] === "u" ? a : w === 1 ? `(${a} < 0 ? -${a} : ${a})` : `max_${T}(${a}, -${a})`;
    case "div":
      if (isFloat(from)) return `(${a} / ${b})`;
      return safeDivisor(e, op.args[1]) ? `(${a} / ${b})` : `div_${T}(${a}, ${b})`;
    case "rem":
      return isInt(from) && safeDivisor(e, op.args[1]) ? `(${a} % ${b})` : `rem_${T}(${a}, ${b})`;
    case "shl":
    case "shr": {
      const bits = from === "i64" || from === "u64" ? 63 : 31;
      const k = e.analysis.definition(op.args[1])?.op === "const" ? b : w === 1 ? `(${b} & ${bits})` : `(${b} & splat_${T}(${bits}))`;
      return `(${a} ${op.op === "shl" ? "<<" : ">>"} ${k})`;
    }
    case "fma":
      return `(${a} * ${b} + ${c})`;
    case "select":
      return `sel_${vectorType(to, w)}(${a}, ${b}, ${c})`;
    case "cast":
      return castExpression(from, to, w, a);
    case "bitcast":
      return bitcast(from, to, w, a);
    case "dot4": {
      const lane =
        w === 4 &&
        e.isa.name === "neon-dotprod" &&
        (op.attrs.signedA || dotFunction(op, e.isa.name) === "dot4u7_i32") &&
        laneOf(e, op.args[1]);
      if (lane) return `DOT4_LANE(${c}, ${a}, ${lane.vector}, ${lane.index})`;
      return `${dotFunction(op, e.isa.name)}x${w}(${c}, ${a}, ${b})`;
    }
    case "dot2":
      return `dot2_i32x${w}(${c}, ${a}, ${b})`;
    case "dotPairs":
      return `dotpairs_i32x${w}(${c}, ${a}, ${b})`;
    case "byteSign":
      return `bytesign_i32x${w}(${a}, ${b})`;
    case "byteLookup":
      return `lookup_i32x${w}(${byteTable(op)}, ${a})`;
    case "pack4": {
      const u = `u32x${w}`;
      const part = (x: string, s: number): string => `(((${u})${x} & 255u) << ${s})`;
      return `(i32x${w})(${args.map((x, i) => part(x, 8 * i)).join(" | ")})`;
    }
    case "min":
    case "max":
      // The instruction gives the second operand where one is NaN: right as it is if that one never is.
      if (from === "f32" && w >= 4 && e.isa.arch === "x64" && isNumber(e, op.args[1])) return `${op.op}_number_${T}(${a}, ${b})`;
      return `${op.op}_${T}(${a}, ${b})`;
    default:
      return `${op.op}_${T}(${args.join(", ")})`;
  }
}

/** For a value that is one extracted element everywhere: the vector of four lanes in registers that holds the element, and where. */
function laneOf(e: Emitter, v: Value): { vector: string; index: number } | undefined {
  let op = e.analysis.definition(v);
  while (op?.op === "broadcast") op = e.analysis.definition(op.args[0]);
  const rep = op?.op === "extract" ? e.rep(op.args[0]) : undefined;
  if (!op || rep?.kind !== "regs" || op.args[0].type.shape.length !== 1) return undefined;
  const [at] = op.attrs.index as readonly number[];
  const chunk = rep.chunks.find((c) => c.w === 4 && c.idx[0] <= at && at < c.idx[0] + 4);
  return chunk && { vector: rep.names.get(key(chunk.idx))!, index: at - chunk.idx[0] };
}

/** Name of the constant byte table of a byteLookup; tables are written before the function. */
export function byteTable(op: Op): string {
  return `table_${(op.attrs.table as readonly number[]).map((n) => (n & 255).toString(16).padStart(2, "0")).join("")}`;
}

/** The constant that a value is everywhere. */
function constantOf(e: Emitter, v: Value): number | undefined {
  let op = e.analysis.definition(v);
  while (op?.op === "broadcast") op = e.analysis.definition(op.args[0]);
  return op?.op === "const" ? Number(op.attrs.value) : undefined;
}

const isNumber = (e: Emitter, v: Value): boolean => !Number.isNaN(constantOf(e, v) ?? NaN);

function safeDivisor(e: Emitter, v: Value): boolean {
  const n = constantOf(e, v);
  return n !== undefined && n !== 0 && n !== -1;
}

function bitcast(from: DType, to: DType, w: number, a: string): string {
  if (from === to) return a;
  if (w > 1) return `(${vectorType(to, w)})${a}`;
  if (storedType(from) === storedType(to)) return a;
  if (!isFloat(from) && !isFloat(to)) return `(${storedType(to)}x1)${a}`;
  if (storedType(from) === "u16" || storedType(to) === "u16") return `(${storedType(to)}x1)${a}`;
  return `bits_${storedType(from)}_${storedType(to)}(${a})`;
}

const SHORT: ReadonlySet<DType> = new Set(["i8", "u8", "i16", "u16"]);

/** Conversion of one vector between dtypes. */
export function castExpression(from: DType, to: DType, w: number, a: string): string {
  if (from === to) return a;
  const convert = (x: string, d: string): string => (w === 1 ? `(${d}x1)${x}` : `__builtin_convertvector(${x}, ${d}x${w})`);
  const half = (d: DType): boolean => d === "f16" || d === "bf16";
  if (half(from)) {
    const f = `cvt_${from}_f32x${w}(${a})`;
    return to === "f32" ? f : castExpression("f32", to, w, f);
  }
  if (half(to)) {
    if (from === "f32") return `cvt_f32_${to}x${w}(${a})`;
    if (from === "f64") return `cvt_f64_${to}x${w}(${a})`;
    const wideInt = from !== "bool" && from !== "i8" && from !== "u8" && from !== "i16" && from !== "u16";
    // Integers beyond 24 bits would be rounded twice on the way through float32.
    return wideInt
      ? `cvt_f64_${to}x${w}(${castExpression(from, "f64", w, a)})`
      : `cvt_f32_${to}x${w}(${castExpression(from, "f32", w, a)})`;
  }
  if (to === "bool") {
    // NaN is false, as in JavaScript.
    if (isFloat(from)) {
      const test = `(${a} < 0) | (${a} > 0)`;
      return w === 1 ? `(${test})` : from === "f64" ? `__builtin_convertvector(${test}, i32x${w})` : `(i32x${w})(${test})`;
    }
    if (w === 1) return `(${a} != 0)`;
    const bits = from === "i64" || from === "u64" ? 64 : from === "i32" || from === "u32" ? 32 : 8;
    return bits === 32 ? `(i32x${w})(${a} != 0)` : `__builtin_convertvector(${a} != 0, i32x${w})`;
  }
  if (from === "bool") {
    const one = w === 1 ? a : `(${a} & 1)`;
    return to === "i32" ? one : convert(one, storedType(to));
  }
  if (isFloat(from) && isInt(to)) return `cvt_${from}_${to}x${w}(${a})`;
  // Short integers go to and from i32 by a function of the prelude: some compilers take the conversion apart lane by lane.
  if (w > 1 && SHORT.has(from) && (to === "i32" || to === "u32" || to === "f32")) {
    const wide = `widen_${from}x${w}(${a})`;
    return to === "i32" ? wide : to === "u32" ? `(u32x${w})${wide}` : convert(wide, "f32");
  }
  if (w > 1 && (from === "i32" || from === "u32") && (to === "i8" || to === "u8"))
    return `(${to}x${w})narrow_i8x${w}(${from === "i32" ? a : `(i32x${w})${a}`})`;
  return convert(a, storedType(to));
}

/** Converts what a load brought from memory into register form, and back. Only bool differs. */
export const fromMemory = (d: DType, w: number, x: string): string =>
  d !== "bool" ? x : w === 1 ? `(${x} != 0)` : `(-__builtin_convertvector(${x}, i32x${w}))`;
export const toMemory = (d: DType, w: number, x: string): string =>
  d !== "bool" ? x : w === 1 ? `(${memoryType(d)}x1)(${x})` : `__builtin_convertvector(${x} & 1, u8x${w})`;

/** Tries to keep index arithmetic symbolic. Returns undefined when the op must be computed. */
export function symbolic(e: Emitter, op: Op): Rep | undefined {
  const [x, y] = op.args;
  const { dtype, shape } = op.results[0].type;
  if (dtype === "bool" && x.type.dtype !== "bool" && isInt(x.type.dtype) && shape.length) return maskRep(e, op);
  if (dtype === "bool" && op.op === "and" && shape.length) return conjunction(e, x, y, shape);
  if ((dtype !== "i32" && dtype !== "i64") || shape.length === 0) return undefined;
  const a = e.affine(x);
  if (!a) return undefined;
  let result: Omit<Rep & { kind: "affine" }, "kind" | "eff"> | undefined;
  if (op.op === "cast" && (x.type.dtype === "i32" || x.type.dtype === "i64")) result = a;
  else if (op.op === "neg") result = scaled(a, lin(-1));
  else if (op.op === "add" || op.op === "sub" || op.op === "mul") {
    const b = e.affine(y);
    if (!b) return undefined;
    if (op.op === "mul") {
      const constant = (r: typeof a): boolean => r.opaque.length === 0 && r.coef.every(isZero);
      if (constant(b)) result = scaled(a, e.named(b.base));
      else if (constant(a)) result = scaled(b, e.named(a.base));
    } else {
      const rhs = op.op === "sub" ? scaled(b, lin(-1)) : b;
      result = { base: addLin(a.base, rhs.base), coef: a.coef.map((c, i) => addLin(c, rhs.coef[i])), opaque: [...a.opaque, ...rhs.opaque] };
    }
  }
  if (!result) return undefined;
  const varying = result.coef.some((c) => !isZero(c));
  // Data-dependent offsets are worth keeping symbolic only where a contiguous last axis is added to them.
  if (result.opaque.length && isZero(result.coef[shape.length - 1])) return undefined;
  if (!varying && !result.opaque.length) return undefined;
  const eff = shape.map((n, i) => (isZero(result.coef[i]) && !result.opaque.some((o) => o.varies[i]) ? 1 : n));
  return { kind: "affine", base: e.named(result.base), coef: result.coef.map((c) => e.named(c)), opaque: result.opaque, eff };
}

function scaled(a: Omit<Rep & { kind: "affine" }, "kind" | "eff">, k: Lin): Omit<Rep & { kind: "affine" }, "kind" | "eff"> {
  return {
    base: isConstLin(k) && k.c === -1 ? negLin(a.base) : mulLin(a.base, k),
    coef: a.coef.map((c) => mulLin(c, k)),
    opaque: a.opaque.map((o) => ({ ...o, scale: mulLin(o.scale, k) })),
  };
}

/** A comparison whose lanes are on up to some point: kept as a number of lanes. */
function maskRep(e: Emitter, op: Op): Rep | undefined {
  if (!["lt", "le", "gt", "ge"].includes(op.op)) return undefined;
  const { shape } = op.results[0].type;
  const swap = op.op === "gt" || op.op === "ge";
  const a = e.affine(op.args[swap ? 1 : 0]);
  const b = e.affine(op.args[swap ? 0 : 1]);
  if (!a || !b) return undefined;
  // A difference of 64-bit data could overflow; one of indices does not.
  if (op.args[0].type.dtype === "i64" && !op.args.some((x) => e.rep(x).kind === "affine")) return undefined;
  // a < b  ⇔  b - a > 0
  const last = shape.length - 1;
  const slope = addLin(b.coef[last], negLin(a.coef[last]));
  const steady = isZero(slope) || (a.coef[last].s !== "" && a.coef[last].s === b.coef[last].s && a.coef[last].c === b.coef[last].c);
  if (!steady && !(isConstLin(slope) && slope.c === -1)) return undefined;
  const extra = op.op === "le" || op.op === "ge" ? 1 : 0;
  const eff = shape.map((n, i) => {
    const varies = !isZero(addLin(b.coef[i], negLin(a.coef[i]))) || [...a.opaque, ...b.opaque].some((o) => o.varies[i]);
    return varies && !(i === last && steady) ? n : 1;
  });
  const zeroed = (idx: readonly (number | string)[]) => (steady ? idx.map((n, i) => (i === last ? 0 : n)) : idx);
  const room = (idx: readonly (number | string)[]): string =>
    linText(addLin(addLin(e.affineAt(b, zeroed(idx)), negLin(e.affineAt(a, zeroed(idx)))), lin(extra)));
  const valid = (idx: readonly (number | string)[], w: number): string => (steady ? `(${room(idx)} > 0 ? ${w} : 0)` : room(idx));
  return { kind: "view", eff, valid, get: (idx, w) => prefix(valid(idx, w), w) };
}

const prefix = (n: string, w: number): string => (w === 1 ? `(${n} > 0)` : `prefix_x${w}(${n})`);

/** Leading lanes of a mask that are on, if it has that form. */
export function validLanes(e: Emitter, v: Value): ((idx: readonly (number | string)[], w: number) => string) | undefined {
  if (e.local?.has(v)) return undefined;
  const rep = e.rep(v);
  if (rep.kind === "view" && rep.valid) return rep.valid;
  const eff = e.eff(v);
  if (eff.length === 0 || eff[eff.length - 1] === 1) return (idx, w) => `(${e.get(v, idx, 1)} ? ${w} : 0)`;
  return undefined;
}

function conjunction(e: Emitter, x: Value, y: Value, shape: readonly number[]): Rep | undefined {
  const a = validLanes(e, x);
  const b = validLanes(e, y);
  const [p, q] = [e.has(x) && !e.local?.has(x) ? e.rep(x) : undefined, e.has(y) && !e.local?.has(y) ? e.rep(y) : undefined];
  if (!a || !b || !((p?.kind === "view" && p.valid) || (q?.kind === "view" && q.valid))) return undefined;
  const [ea, eb] = [e.eff(x), e.eff(y)];
  const eff = shape.map((n, i) => (ea[i] === 1 && eb[i] === 1 ? 1 : n));
  const valid = (idx: readonly (number | string)[], w: number): string => `MINI(${a(idx, w)}, ${b(idx, w)})`;
  return { kind: "view", eff, valid, get: (idx, w) => prefix(valid(idx, w), w) };
}

/**
 * Scalars. Sums and products of i32 are computed once, in 64 bits, where they cannot overflow: offsets use them as they are, everything
 * else their low half, which is what 32-bit arithmetic gives.
 */
export function scalarOp(e: Emitter, op: Op, name: string): void {
  const out = op.results[0];
  const { dtype } = out.type;
  const wide = wideForm(e, op);
  if (wide) return e.set(out, { kind: "uniform", expr: dtype === "i64" ? linText(wide) : `((i32x1)${linText(wide)})`, wide });
  const expr = expression(
    e,
    op,
    1,
    op.args.map((a) => e.scalar(a)),
  );
  e.constant(`${storedType(dtype)}x1`, expr, name);
  e.set(out, { kind: "uniform", expr: name });
}

function wideForm(e: Emitter, op: Op): Lin | undefined {
  const { dtype } = op.results[0].type;
  if (dtype !== "i32" && dtype !== "i64") return undefined;
  if (!["add", "sub", "mul", "neg", "cast"].includes(op.op)) return undefined;
  if (op.op === "cast" && op.args[0].type.dtype !== "i32" && op.args[0].type.dtype !== "i64") return undefined;
  if (op.op === "cast" && op.args[0].type.dtype === "i64" && dtype === "i32") return undefined;
  const forms = op.args.map((a) => e.affine(a)?.base);
  if (forms.some((f) => f === undefined)) return undefined;
  const [a, b] = forms as Lin[];
  const sum =
    op.op === "add"
      ? addLin(a, b)
      : op.op === "sub"
        ? addLin(a, negLin(b))
        : op.op === "mul"
          ? mulLin(a, b)
          : op.op === "neg"
            ? negLin(a)
            : a;
  return e.named(sum);
}

/** Computes an elementwise op on a tile small enough for locals. */
export function smallElementwise(e: Emitter, op: Op): void {
  const out = op.results[0];
  const { shape } = out.type;
  const effs = op.args.map((a) => e.eff(a));
  const eff = shape.map((n, i) => (effs.every((f) => f[i] === 1) ? 1 : n));
  if (elements(eff) === 1 && shape.length && op.op !== "select") {
    const zero = shape.map(() => 0);
    const name = e.constant(
      `${storedType(out.type.dtype)}x1`,
      expression(
        e,
        op,
        1,
        op.args.map((a) => e.get(a, zero, 1)),
      ),
      cName(out, op.op),
    );
    e.set(out, { kind: "uniform", expr: name, wide: wideForm(e, op) });
    return;
  }
  e.define(
    out,
    eff,
    ({ idx, w }) =>
      expression(
        e,
        op,
        w,
        op.args.map((a) => e.get(a, idx, w)),
      ),
    op.loc,
  );
}

export function unsupported(e: Emitter, op: Op): never {
  throw new AlloyError("internal", `the C target has no rule for op ${op.op} (kernel ${e.ir.name})`);
}
