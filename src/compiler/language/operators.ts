/** JavaScript's operators on compile-time values, tiles and pointers. */
import { binaryFunction, unaryFunction } from "../ir/scalar.ts";
import type { DType, Value } from "../ir/types.ts";
import { isFloat, isInt, isSigned } from "../ir/types.ts";
import type { Compiler } from "./compiler.ts";
import { computeType } from "./promote.ts";
import type { CT, Literal, Numeric, Primitive } from "./values.ts";
import { describe, isNumeric, literal, runTime } from "./values.ts";

const ARITHMETIC: Readonly<Record<string, string>> = { "+": "add", "-": "sub", "*": "mul", "/": "div", "%": "rem", "**": "pow" };
const BITWISE: Readonly<Record<string, string>> = { "&": "and", "|": "or", "^": "xor" };
const COMPARISON: Readonly<Record<string, string>> = {
  "==": "eq",
  "===": "eq",
  "!=": "ne",
  "!==": "ne",
  "<": "lt",
  "<=": "le",
  ">": "gt",
  ">=": "ge",
};
const SHIFTS = ["<<", ">>", ">>>"];

const isLiteral = (x: CT): x is Literal => x.kind === "literal";

export function binary(c: Compiler, op: string, a: CT, b: CT): CT {
  if (isLiteral(a) && isLiteral(b)) {
    const unset = [a, b].some((v) => v.value === undefined || v.value === null);
    if (unset && COMPARISON[op] !== "eq" && COMPARISON[op] !== "ne")
      c.fail(`an operand of ${op} has no value yet`, "Give the variable a value before.");
    return literal(fold(c, op, a.value, b.value));
  }
  if (a.kind === "pointer" || b.kind === "pointer") return pointerArithmetic(c, op, a, b);
  if (op in COMPARISON && !(isNumeric(a) && isNumeric(b))) {
    const same = compareStatic(a, b);
    if (same !== undefined && COMPARISON[op] === "eq") return literal(same);
    if (same !== undefined && COMPARISON[op] === "ne") return literal(!same);
  }
  const x = c.numeric(a, `left side of ${op}`);
  const y = c.numeric(b, `right side of ${op}`);
  if (op in ARITHMETIC) return arithmetic(c, ARITHMETIC[op], x, y, op);
  if (op in BITWISE) return bitwise(c, op, x, y);
  if (op in COMPARISON) return compare(c, COMPARISON[op], x, y, op);
  if (SHIFTS.includes(op)) return shift(c, op, x, y);
  return c.fail(`the operator ${op} is not part of the kernel language`);
}

/** Equality of things that are not numbers (types, undefined); undefined when it makes no sense. */
function compareStatic(a: CT, b: CT): boolean | undefined {
  if (a.kind === "dtype" && b.kind === "dtype") return a.dtype === b.dtype;
  const nothing = (v: CT): boolean => v.kind === "literal" && (v.value === undefined || v.value === null);
  if (nothing(a) || nothing(b)) return false;
  return undefined;
}

/** JavaScript's own result on compile-time values. */
function fold(c: Compiler, op: string, x: Primitive, y: Primitive): Primitive {
  const a = x as number;
  const b = y as number;
  switch (op) {
    case "+":
      return a + b;
    case "-":
      return a - b;
    case "*":
      return a * b;
    case "/":
      return a / b;
    case "%":
      return a % b;
    case "**":
      return a ** b;
    case "&":
      return a & b;
    case "|":
      return a | b;
    case "^":
      return a ^ b;
    case "<<":
      return a << b;
    case ">>":
      return a >> b;
    case ">>>":
      return a >>> b;
    case "==":
    case "===":
      return x === y;
    case "!=":
    case "!==":
      return x !== y;
    case "<":
      return a < b;
    case "<=":
      return a <= b;
    case ">":
      return a > b;
    case ">=":
      return a >= b;
  }
  return c.fail(`the operator ${op} is not part of the kernel language`);
}

function pointerArithmetic(c: Compiler, op: string, a: CT, b: CT): CT {
  const [p, offset] = a.kind === "pointer" ? [a, b] : [b, a];
  if (p.kind !== "pointer" || (op !== "+" && !(op === "-" && a === p))) {
    return c.fail(`${describe(a)} ${op} ${describe(b)} is no pointer`, "Only pointer + offset and pointer - offset are possible.");
  }
  const by = c.numeric(offset, "a pointer's offset");
  const type = by.kind === "value" ? by.value.type.dtype : "i32";
  if (!isInt(type) || (by.kind === "literal" && !Number.isInteger(by.value))) {
    c.fail(`a pointer's offset must be an integer, got ${describe(by)}`, "Offsets count elements; use al.idiv or al.cast(x, al.i32).");
  }
  const added = binary(c, op, p.offset, by);
  return { kind: "pointer", param: p.param, offset: added as Numeric };
}

/** Operands as values of `type` and of one shape. */
export function operands(c: Compiler, items: readonly Numeric[], type: DType, what: string): Value[] {
  return c.broadcast(
    items.map((x) => c.toValue(checkedLiteral(c, x, type), type)),
    what,
  );
}

/** An integer literal must be a value of the integer type it adapts to; negative numbers may stand for unsigned ones as in C. */
function checkedLiteral(c: Compiler, x: Numeric, type: DType): Numeric {
  if (x.kind !== "literal" || typeof x.value !== "number" || (type !== "i32" && type !== "u32")) return x;
  const v = x.value;
  if (v >= -(2 ** 31) && v < (type === "i32" ? 2 ** 31 : 2 ** 32)) return x;
  return c.fail(`${v} does not fit into ${type}`, "Cast the other operand to u32 or i64, or the constant with al.cast.");
}

/** Result of a computation in f32 as the half type that the operands had. */
function narrow(c: Compiler, x: Value, type: DType): CT {
  return runTime(type === "f16" || type === "bf16" ? c.convert(x, type) : x);
}

export function arithmetic(c: Compiler, op: string, x: Numeric, y: Numeric, what: string): CT {
  let type = c.commonType([x, y], true);
  if (type === "bool") type = "i32";
  if (op === "pow") return power(c, x, y, type);
  if (op === "div" && isInt(type)) type = "f32";
  const compute = computeType(type);
  const [a, b] = operands(c, [x, y], compute, what);
  return narrow(c, c.emit(op, [a, b]), type);
}

function power(c: Compiler, x: Numeric, y: Numeric, common: DType): CT {
  if (y.kind === "literal" && (y.value === 2 || y.value === 3)) {
    const square = arithmetic(c, "mul", x, x, "**") as Numeric;
    return y.value === 2 ? square : arithmetic(c, "mul", square, x, "**");
  }
  const type = isInt(common) ? "f32" : common;
  const [a, b] = operands(c, [x, y], computeType(type), "**");
  return narrow(c, c.emit("pow", [a, b]), type);
}

/** Integer division that truncates, as `al.idiv`, or rounds down, as `Math.floor(a / b)`. */
export function integerDivide(c: Compiler, x: Numeric, y: Numeric, what: string, down = false): CT {
  if (x.kind === "literal" && y.kind === "literal") {
    const quotient = Number(x.value) / Number(y.value);
    return literal(down ? Math.floor(quotient) : Math.trunc(quotient));
  }
  const type = c.commonType([x, y], true);
  if (isFloat(type)) c.fail(`${what} divides integers, got ${describe(x)} and ${describe(y)}`, "Cast to an integer type first.");
  const [a, b] = operands(c, [x, y], computeType(type), what);
  if (!down || !isSigned(a.type.dtype)) return runTime(c.emit("div", [a, b]));
  const shift = y.kind === "literal" ? Math.log2(Number(y.value)) : NaN;
  if (Number.isInteger(shift)) return binary(c, ">>", x, literal(shift));
  // The truncated quotient is one too large where the remainder is not 0 and its sign is not the divisor's.
  const remainder = runTime(c.emit("rem", [a, b]));
  const opposite = compare(c, "lt", binary(c, "^", remainder, runTime(b)) as Numeric, literal(0), what) as Numeric;
  const over = logical(c, "and", compare(c, "ne", remainder, literal(0), what) as Numeric, opposite) as Numeric;
  return binary(c, "-", runTime(c.emit("div", [a, b])), over);
}

export function compare(c: Compiler, op: string, x: Numeric, y: Numeric, what: string): CT {
  const type = c.commonType([x, y], true);
  const bothBool = [x, y].every((v) => (v.kind === "value" ? v.value.type.dtype === "bool" : typeof v.value === "boolean"));
  if (bothBool && (op === "eq" || op === "ne")) {
    const [a, b] = operands(c, [x, y], "bool", what);
    const differ = c.emit("xor", [a, b]);
    return runTime(op === "ne" ? differ : c.emit("not", [differ]));
  }
  const [a, b] = operands(c, [x, y], computeType(type), what);
  return runTime(c.emit(op, [a, b]));
}

function bitwise(c: Compiler, op: string, x: Numeric, y: Numeric): CT {
  const isBool = (v: Numeric): boolean => (v.kind === "value" ? v.value.type.dtype === "bool" : typeof v.value === "boolean");
  if (isBool(x) && isBool(y)) return runTime(c.emit(BITWISE[op], operands(c, [x, y], "bool", op)));
  const type = c.commonType([x, y], true);
  if (isFloat(type)) {
    // JavaScript's idiom for truncation.
    if (op === "|" && y.kind === "literal" && y.value === 0 && x.kind === "value") return runTime(c.convert(x.value, "i32"));
    return c.fail(`${op} works on integers, got ${describe(x)} and ${describe(y)}`, "Cast or bitcast to an integer type first.");
  }
  const to = type === "bool" ? "i32" : type;
  const wrapped = [x, y].map((v) =>
    to === "i32" && v.kind === "literal" && Number(v.value) >= 2 ** 31 ? literal(Number(v.value) | 0) : v,
  );
  return runTime(c.emit(BITWISE[op], operands(c, wrapped, to, op)));
}

function shift(c: Compiler, op: string, x: Numeric, y: Numeric): CT {
  const left = x.kind === "value" ? computeType(x.value.type.dtype) : c.commonType([x], true);
  const countType = y.kind === "value" ? y.value.type.dtype : "i32";
  if (!isInt(left) || isFloat(countType)) c.fail(`${op} works on integers, got ${describe(x)} and ${describe(y)}`);
  const [a, b] = operands(c, [x, y], left, op);
  if (op === "<<") return runTime(c.emit("shl", [a, b]));
  if (op === ">>" || !isSigned(left)) return runTime(c.emit("shr", [a, b]));
  const unsigned: DType = left === "i64" ? "u64" : "u32";
  const [u, count] = [c.emit("bitcast", [a], { to: unsigned }), c.convert(b, unsigned)];
  return runTime(c.emit("bitcast", [c.emit("shr", [u, count])], { to: left }));
}

/** `-x`, `+x`, `!x`, `~x`. */
export function unary(c: Compiler, op: string, v: CT): CT {
  if (v.kind === "literal") {
    const n = v.value as number;
    if (op === "!") return literal(!v.value);
    if (op === "-") return literal(-n);
    if (op === "~") return literal(~n);
    if (op === "+") return literal(Number(n));
  }
  if (op === "!" && !isNumeric(v)) return literal(v.kind === "poison");
  const x = c.numeric(v, `operand of ${op}`);
  if (op === "!") return runTime(c.emit("not", [toBool(c, x)]));
  if (op === "+") return x;
  if (op === "-") return elementwise(c, "neg", x, "-");
  if (op === "~") {
    const type = computeType(x.kind === "value" ? x.value.type.dtype : "i32");
    if (isFloat(type)) c.fail(`~ works on integers, got ${describe(x)}`);
    return runTime(c.emit("not", [c.toValue(x, type)]));
  }
  return c.fail(`the operator ${op} is not part of the kernel language`);
}

/** As a bool value: numbers are compared with 0. */
export function toBool(c: Compiler, x: Numeric): Value {
  if (x.kind === "literal") return c.toValue(x, "bool");
  if (x.value.type.dtype === "bool") return x.value;
  return c.toValue(compare(c, "ne", x, literal(0), "!=") as Numeric);
}

/** `&&` and `||` on values of which one or both are known at run time only: elementwise on bools. */
export function logical(c: Compiler, op: "and" | "or", x: Numeric, y: Numeric): CT {
  const known = y.kind === "literal" ? Boolean(y.value) : undefined;
  if (known !== undefined) return known === (op === "and") ? runTime(toBool(c, x)) : literal(known);
  const [a, b] = c.broadcast([toBool(c, x), toBool(c, y)], op === "and" ? "&&" : "||");
  return runTime(c.emit(op, [a, b]));
}

const KEEPS_INTEGERS = ["floor", "ceil", "round", "trunc"];
const ON_ANY = ["neg", "abs"];

/** An elementwise op of one operand; integers become f32 for the float functions. */
export function elementwise(c: Compiler, op: string, x: Numeric, what: string): CT {
  if (x.kind === "literal") return literal(Number(unaryFunction(op, "f64")(Number(x.value))));
  let type = x.value.type.dtype;
  if (!isFloat(type)) {
    if (KEEPS_INTEGERS.includes(op)) return x;
    type = ON_ANY.includes(op) ? computeType(type) : "f32";
  }
  return narrow(c, c.emit(op, [c.convert(x.value, computeType(type))], {}, what), type);
}

/** min or max of two. */
export function minMax(c: Compiler, op: "min" | "max", x: Numeric, y: Numeric, what: string): CT {
  if (x.kind === "literal" && y.kind === "literal") return literal(Number(binaryFunction(op, "f64")(Number(x.value), Number(y.value))));
  return arithmetic(c, op, x, y, what);
}

/** Elementwise choice by a run-time condition. */
export function select(c: Compiler, condition: Value, x: Numeric, y: Numeric, what: string): CT {
  const type = c.commonType([x, y], false);
  const [cond, a, b] = c.broadcast([condition, c.toValue(x, type), c.toValue(y, type)], what);
  return runTime(c.emit("select", [cond, a, b]));
}
