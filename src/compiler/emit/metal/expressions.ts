/** MSL of one element: types, literals, elementwise ops, conversions. Operands come as expressions that bind tighter than any operator. */
import type { DType, Op } from "../../ir/types.ts";
import { isFloat, isSigned } from "../../ir/types.ts";
import { AlloyError } from "../../../support/errors.ts";

const TYPES: Readonly<Record<Exclude<DType, "f64">, string>> = {
  bool: "bool",
  i8: "char",
  u8: "uchar",
  i16: "short",
  u16: "ushort",
  i32: "int",
  u32: "uint",
  i64: "long",
  u64: "ulong",
  f16: "half",
  bf16: "bfloat",
  f32: "float",
};

/** MSL type of a value. Throws `kernel_error` for f64, which no Apple GPU has. */
export function mslType(d: DType): string {
  if (d === "f64") {
    throw new AlloyError("kernel_error", "f64 does not exist on Metal", { hint: "Use f32, or run this kernel with --device cpu." });
  }
  return TYPES[d];
}

/** MSL type of an element in memory: a bool is a byte that is 0 or not. */
export const memoryType = (d: DType): string => (d === "bool" ? "uchar" : mslType(d));

const UNSIGNED: Partial<Record<DType, string>> = { i32: "uint", i64: "ulong" };
const INFIX: Readonly<Record<string, string>> = { add: "+", sub: "-", mul: "*", and: "&", or: "|", xor: "^" };
const COMPARE: Readonly<Record<string, string>> = { eq: "==", ne: "!=", lt: "<", le: "<=", gt: ">", ge: ">=" };

/** The literal of a constant. */
export function literal(d: DType, value: number | bigint | boolean): string {
  if (d === "bool") return value ? "true" : "false";
  if (d === "f32") return floatLiteral(Number(value));
  if (d === "f16" || d === "bf16") return `${mslType(d)}(${floatLiteral(Number(value))})`;
  if (d === "i64") {
    const b = BigInt.asIntN(64, BigInt(value));
    return b === -(2n ** 63n) ? "(-9223372036854775807L - 1L)" : b < 0n ? `(${b}L)` : `${b}L`;
  }
  if (d === "u64") return `${BigInt.asUintN(64, BigInt(value))}UL`;
  if (d === "u32") return `${Number(value) >>> 0}u`;
  const n = Number(value);
  const text = n === -2147483648 ? "(-2147483647 - 1)" : n < 0 ? `(${n})` : String(n);
  return d === "i32" ? text : `${mslType(d)}(${text})`;
}

function floatLiteral(x: number): string {
  const f = Math.fround(x);
  if (Number.isNaN(f)) return "NAN";
  if (f === Infinity) return "INFINITY";
  if (f === -Infinity) return "(-INFINITY)";
  let text = shortest(Math.abs(f));
  if (!/[.e]/.test(text)) text += ".0";
  return f < 0 || Object.is(f, -0) ? `(-${text}f)` : `${text}f`;
}

/** The shortest decimal that reads back as this float. */
function shortest(f: number): string {
  for (let digits = 1; digits < 10; digits++) {
    const n = Number(f.toPrecision(digits));
    if (Math.fround(n) === f) return String(n);
  }
  return String(f);
}

/** Operators by how tightly they bind, loosest first. */
const LEVELS: readonly (readonly string[])[] = [
  ["?", ":"],
  ["||"],
  ["&&"],
  ["|"],
  ["^"],
  ["&"],
  ["==", "!="],
  ["<", "<=", ">", ">="],
  ["<<", ">>"],
  ["+", "-"],
  ["*", "/", "%"],
];

/** `text` without the parentheses around all of it, if its operators bind at least as tightly as `level`. */
export function operand(text: string, operator: string, left: boolean): string {
  if (!text.startsWith("(") || !text.endsWith(")")) return text;
  const inner = text.slice(1, -1);
  let depth = 0;
  let loosest = LEVELS.length;
  for (const token of inner.match(/[()]|[^\s()]+/g) ?? []) {
    if (token === "(") depth++;
    else if (token === ")") {
      if (--depth < 0) return text;
    } else if (depth === 0) {
      const level = LEVELS.findIndex((l) => l.includes(token));
      if (level >= 0) loosest = Math.min(loosest, level);
    }
  }
  const level = LEVELS.findIndex((l) => l.includes(operator));
  // Mixed bit operators and shifts keep their parentheses: compilers warn, readers stumble.
  const plain =
    level >= 9 || (level >= 6 && level <= 7 && loosest >= 9) || (level === 2 && (loosest === 6 || loosest === 7 || loosest === 2));
  return plain && (loosest > level || (left && loosest === level)) ? inner : text;
}

/** An expression without the parentheses around all of it. */
export function bare(text: string): string {
  if (!text.startsWith("(") || !text.endsWith(")")) return text;
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    if (text[i] === "(") depth++;
    else if (text[i] === ")" && --depth === 0 && i < text.length - 1) return text;
  }
  return text.slice(1, -1);
}

const infixText = (a: string, operator: string, b: string): string =>
  `(${operand(a, operator, true)} ${operator} ${operand(b, operator, false)})`;

/** What the text of expressions needs beside itself. */
export interface Needs {
  /** A function of prelude.ts; returns its name. */
  helper(name: string): string;
  /** Name of a table of 16 bytes. */
  table(bytes: readonly number[]): string;
}

export interface ExpressionOptions {
  /** i32 sums and products may overflow and must wrap. False for index arithmetic. */
  wraps: boolean;
  /** Value of the i-th operand where it is a compile-time number. */
  constant: (i: number) => number | undefined;
}

/** Elementwise op on operands given as expressions; the result is parenthesised where it needs to be. */
export function expression(op: Op, args: readonly string[], needs: Needs, options: ExpressionOptions): string {
  const [a, b, c] = args;
  const from = op.args[0].type.dtype;
  const to = op.results[0].type.dtype;
  const T = mslType(from);
  const compare = COMPARE[op.op];
  if (compare) return infixText(a, compare, b);
  const infix = INFIX[op.op];
  if (infix) {
    if (from === "bool") return op.op === "xor" ? `(${a} != ${b})` : infixText(a, infix + infix, b);
    const simple = simplified(op.op, from, a, b);
    if (simple) return simple;
    const unsigned = options.wraps && "+-*".includes(infix) ? UNSIGNED[from] : undefined;
    return unsigned ? `${T}(${unsigned}(${bare(a)}) ${infix} ${unsigned}(${bare(b)}))` : infixText(a, infix, b);
  }
  switch (op.op) {
    case "neg":
      if (isFloat(from) || !options.wraps || !UNSIGNED[from]) return `(-${a})`;
      return `${T}(${UNSIGNED[from]}(0) - ${UNSIGNED[from]}(${a}))`;
    case "not":
      return from === "bool" ? `!${a}` : `(~${a})`;
    case "abs":
      if (isFloat(from)) return `fabs(${bare(a)})`;
      return isSigned(from) ? `${needs.helper(`abs_${from}`)}(${a})` : a;
    case "div":
    case "rem":
      return division(op.op, from, a, b, needs, options.constant(1));
    case "min":
    case "max":
      return `${isFloat(from) ? "f" : ""}${op.op}(${bare(a)}, ${bare(b)})`;
    case "shl":
    case "shr":
      return shift(op.op, from, a, b, options.constant(1));
    case "fma":
      return `fma(${bare(a)}, ${bare(b)}, ${bare(c)})`;
    case "round":
      return `rint(${bare(a)})`;
    case "erf":
      return `${needs.helper("erf")}(${a})`;
    case "pow":
      return `${needs.helper("pow")}(${a}, ${b})`;
    case "select":
      return `(${a} ? ${b} : ${c})`;
    case "cast":
      return cast(from, to, a, needs);
    case "bitcast":
      return from === to ? a : to === "bool" || from === "bool" ? cast(from, to, a, needs) : `as_type<${mslType(to)}>(${bare(a)})`;
    case "dot4":
      return `${needs.helper(op.attrs.signedA ? "dot4_signed" : "dot4")}(${a}, ${b}, ${c})`;
    case "dot2":
      return `${needs.helper("dot2")}(${a}, ${b}, ${c})`;
    case "dotPairs":
      return `${needs.helper("dot_pairs")}(${a}, ${b}, ${c})`;
    case "byteSign":
      return `${needs.helper("byte_sign")}(${a}, ${b})`;
    case "byteLookup":
      return `${needs.helper("byte_lookup")}(${needs.table(op.attrs.table as readonly number[])}, ${a})`;
    case "pack4":
      return `as_type<int>(uchar4(${args.map((x) => `uchar(${x})`).join(", ")}))`;
    default:
      return `${op.op}(${bare(a)})`;
  }
}

/** Sums and products of integers with 0 and 1, which positions of tiles with one register give rise to. */
function simplified(op: string, d: DType, a: string, b: string): string | undefined {
  if (isFloat(d)) return undefined;
  const is = (x: string, n: number): boolean => x === `${n}` || x === `${n}L` || x === `${n}u`;
  if (op === "add" || op === "sub" || op === "or") return is(b, 0) ? a : op !== "sub" && is(a, 0) ? b : undefined;
  if (op === "mul") return is(b, 1) || is(a, 0) ? a : is(a, 1) || is(b, 0) ? b : undefined;
  return undefined;
}

function division(op: "div" | "rem", d: DType, a: string, b: string, needs: Needs, by: number | undefined): string {
  if (isFloat(d)) return op === "div" ? infixText(a, "/", b) : `${needs.helper("rem_f32")}(${bare(a)}, ${bare(b)})`;
  if (by !== undefined && by !== 0 && by !== -1) return `(${a} ${op === "div" ? "/" : "%"} ${b})`;
  return `${needs.helper(`${op}_${d}`)}(${a}, ${b})`;
}

/** Shift counts are taken modulo the width; left shifts of signed numbers wrap. */
function shift(op: "shl" | "shr", d: DType, a: string, b: string, by: number | undefined): string {
  const bits = d === "i64" || d === "u64" ? 63 : 31;
  const count = by === undefined ? `(${d === "i64" || d === "u64" ? `int(${b})` : b} & ${bits})` : String(by & bits);
  if (op === "shr") return `(${a} >> ${count})`;
  const unsigned = UNSIGNED[d];
  return unsigned ? `${mslType(d)}(${unsigned}(${a}) << ${count})` : `(${a} << ${count})`;
}

/** Conversion of one element: float to integer truncates and saturates, NaN gives 0; floats round to nearest even. */
export function cast(from: DType, to: DType, a: string, needs: Needs): string {
  if (from === to) return a;
  const float = (x: string): string => (from === "f32" ? x : `float(${bare(x)})`);
  if (to === "bool") return isFloat(from) ? `(fabs(${float(a)}) > 0.0f)` : `(${a} != 0)`;
  if (isFloat(from))
    return isFloat(to)
      ? `${mslType(to)}(${to === "f32" || from === "f32" ? bare(a) : `float(${a})`})`
      : `${needs.helper(`float_${to}`)}(${bare(float(a))})`;
  if (from === "bool") return isFloat(to) ? `(${a} ? ${literal(to, 1)} : ${literal(to, 0)})` : `${mslType(to)}(${a})`;
  if (to === "bf16" || to === "f16") {
    // 8 and 16 bits are exact in a float; more must not be rounded twice.
    if (from === "i8" || from === "u8" || from === "i16" || from === "u16") return `${mslType(to)}(float(${a}))`;
    return `${mslType(to)}(${needs.helper(`odd_${from}`)}(${a}))`;
  }
  if (/^\d+$/.test(a) && (to === "i64" || to === "i32")) return literal(to, BigInt(a));
  return `${mslType(to)}(${bare(a)})`;
}
