/** The vocabulary `al`: one table entry per operation. Adding an operation is one entry here and its signature in ./al.ts. */
import { suggest } from "../../support/errors.ts";
import type { Attr, DType, Value } from "../ir/types.ts";
import { elements, isFloat, isInt } from "../ir/types.ts";
import type { Compiler } from "./compiler.ts";
import { binary, elementwise, integerDivide, minMax, operands, select, toBool } from "./operators.ts";
import type { Entry, Handler } from "./arguments.ts";
import { arg, axisOf, dtypeOf, entry, tile } from "./arguments.ts";
import { computeType } from "./promote.ts";
import { DTYPES } from "./signature.ts";
import type { CallInfo, CT, NamespaceValue, Numeric } from "./values.ts";
import { describe, isUndefined, literal, runTime, UNDEFINED } from "./values.ts";
import { dot, dot2, dot4, dotPairs, byteLookup, byteSign, load, pack4, prefetch, store } from "./vocabulary-memory.ts";
import { print } from "./vocabulary-print.ts";
import { ATOMICS, SCANS } from "./vocabulary-atomics.ts";
import { SIMD } from "./vocabulary-simd.ts";
import { THREADS } from "./vocabulary-threads.ts";

const unaryMath = (op: string): Entry => entry(1, 1, (c, args, info) => elementwise(c, op, arg(c, args, 0, info), info.name));

const extremum = (op: "min" | "max"): Entry =>
  entry(1, Infinity, (c, args, info) => {
    if (args.length === 1 || args[1].kind === "object") return reduction(op)(c, args, info);
    const [x, axis] = args;
    const couldBeAxis = axis.kind === "literal" && typeof axis.value === "number" && Number.isInteger(axis.value);
    if (
      args.length === 2 &&
      x.kind === "value" &&
      couldBeAxis &&
      x.value.type.shape.length > Math.max(1, Number(axis.value)) &&
      !info.name.startsWith("Math")
    ) {
      c.fail(
        `${info.name}(${describe(x)}, ${describe(axis)}) could mean axis ${describe(axis)} or the number ${describe(axis)}`,
        `Write ${info.name}(x, { axis: ${describe(axis)} }) to reduce, Math.${op}(x, ${describe(axis)}) to compare each element.`,
      );
    }
    let result = arg(c, args, 0, info);
    for (let i = 1; i < args.length; i++) result = minMax(c, op, result, arg(c, args, i, info), info.name) as Numeric;
    return result;
  });

/** A reduction over one axis, or over all elements. Half floats accumulate in f32 and round once. */
const reduction =
  (kind: string): Handler =>
  (c, args, info) => {
    const logical = kind === "any" || kind === "all";
    let x = tile(c, args, 0, info);
    const stored = x.type.dtype;
    x = logical ? toBool(c, runTime(x)) : c.convert(x, computeType(stored));
    const axisArg = args[1]?.kind === "object" ? args[1].cells.get("axis")?.value : args[1];
    const { shape } = x.type;
    if (shape.length === 0) return kind.startsWith("arg") ? literal(0) : runTime(x);
    let axis = 0;
    if (axisArg === undefined || isUndefined(axisArg)) x = c.emit("reshape", [x], { shape: [elements(shape)] });
    else axis = axisOf(c, axisArg, shape.length, info);
    const result = c.emit("reduce", [x], { kind, axis }, info.name);
    return runTime(stored === "f16" || stored === "bf16" ? (kind.startsWith("arg") ? result : c.convert(result, stored)) : result);
  };

const reducing = (kind: string): Entry => entry(1, 2, reduction(kind));

/** x with the given shape, same elements. */
const reshape = (c: Compiler, x: Value, shape: number[], info: CallInfo): CT => runTime(c.emit("reshape", [x], { shape }, info.name));

const vector = (c: Compiler, args: CT[], info: CallInfo): Value => {
  const x = tile(c, args, 0, info);
  return x.type.shape.length === 1 ? x : c.fail(`${info.name} takes a 1-D tile, got ${describe(runTime(x))}`);
};

const gridOp = (op: string): Entry =>
  entry(0, 1, (c, args, info) => {
    const axis = args[0] ? c.integer(args[0], `the axis of ${info.name}`) : 0;
    if (axis < 0 || axis > 2) c.fail(`${info.name}: a grid has axes 0, 1 and 2, got ${axis}`);
    return runTime(c.emit(op, [], { axis }));
  });

function full(c: Compiler, shapeArg: CT, value: Numeric, dtype: DType | undefined, info: CallInfo): CT {
  const shape = c.shape(shapeArg, `the shape of ${info.name}`);
  if (value.kind === "literal")
    return runTime(c.constant({ dtype: dtype ?? c.commonType([value], false), shape }, value.value as number | boolean));
  return runTime(c.broadcastTo(c.toValue(value, dtype), shape, info.name));
}

/** The vocabulary by name. */
const ENTRIES: Readonly<Record<string, Entry>> = {
  programId: gridOp("programId"),
  numPrograms: gridOp("numPrograms"),

  arange: entry(1, 2, (c, args, info) => {
    const [a, b] = args.map((v) => c.integer(v, `a bound of ${info.name}`));
    const [start, end] = b === undefined ? [0, a] : [a, b];
    if (end <= start) c.fail(`${info.name}(${start}, ${end}) is empty`);
    return runTime(c.emit("arange", [], { start, n: end - start }));
  }),
  zeros: entry(1, 2, (c, args, info) => full(c, args[0], literal(0), dtypeOf(c, args[1], `argument 2 of ${info.name}`) ?? "f32", info)),
  full: entry(2, 3, (c, args, info) => full(c, args[0], arg(c, args, 1, info), dtypeOf(c, args[2], `argument 3 of ${info.name}`), info)),

  col: entry(1, 1, (c, args, info) => {
    const x = vector(c, args, info);
    return reshape(c, x, [x.type.shape[0], 1], info);
  }),
  row: entry(1, 1, (c, args, info) => {
    const x = vector(c, args, info);
    return reshape(c, x, [1, x.type.shape[0]], info);
  }),
  reshape: entry(2, 2, (c, args, info) => reshape(c, tile(c, args, 0, info), c.shape(args[1], `the shape of ${info.name}`), info)),
  expand: entry(2, 2, (c, args, info) => {
    const x = tile(c, args, 0, info);
    const axis = axisOf(c, args[1], x.type.shape.length + 1, info);
    return reshape(c, x, x.type.shape.toSpliced(axis, 0, 1), info);
  }),
  broadcast: entry(2, 2, (c, args, info) =>
    runTime(c.broadcastTo(tile(c, args, 0, info), c.shape(args[1], `the shape of ${info.name}`), info.name)),
  ),
  trans: entry(1, 1, (c, args, info) => runTime(c.emit("transpose", [tile(c, args, 0, info)], {}, info.name))),
  cat: entry(2, 2, (c, args, info) => {
    const parts = [arg(c, args, 0, info), arg(c, args, 1, info)];
    const type = c.commonType(parts, false);
    return runTime(
      c.emit(
        "cat",
        parts.map((p) => c.toValue(p, type)),
        {},
        info.name,
      ),
    );
  }),
  slice: entry(4, 4, (c, args, info) => {
    const x = tile(c, args, 0, info);
    const axis = axisOf(c, args[1], x.type.shape.length, info);
    const [start, size] = [c.integer(args[2], `the start of ${info.name}`), c.integer(args[3], `the size of ${info.name}`)];
    return runTime(c.emit("slice", [x], { axis, start, size }, info.name));
  }),
  extract: entry(1, Infinity, (c, args, info) => {
    const index = args.slice(1).map((v) => c.integer(v, `an index of ${info.name}`));
    return runTime(c.emit("extract", [tile(c, args, 0, info)], { index }, info.name));
  }),

  load: entry(1, 2, load),
  store: entry(2, 3, store),
  prefetch: entry(1, 1, prefetch),

  ...Object.fromEntries(
    ["exp", "exp2", "log", "log2", "sin", "cos", "tanh", "sqrt", "rsqrt", "abs", "floor", "ceil", "round", "trunc", "erf"].map((op) => [
      op,
      unaryMath(op),
    ]),
  ),
  sigmoid: entry(1, 1, (c, args, info) => {
    const e = elementwise(c, "exp", elementwise(c, "neg", arg(c, args, 0, info), info.name) as Numeric, info.name);
    return binary(c, "/", literal(1), binary(c, "+", literal(1), e));
  }),
  pow: entry(2, 2, (c, args, info) => binary(c, "**", arg(c, args, 0, info), arg(c, args, 1, info))),
  min: extremum("min"),
  max: extremum("max"),
  fma: entry(3, 3, (c, args, info) => {
    const parts = [0, 1, 2].map((i) => arg(c, args, i, info));
    const type = c.commonType(parts, true);
    if (!isFloat(type)) return binary(c, "+", binary(c, "*", parts[0], parts[1]), parts[2]);
    const result = c.emit("fma", operands(c, parts, computeType(type), info.name));
    return runTime(c.convert(result, type));
  }),
  clamp: entry(3, 3, (c, args, info) => {
    const low = minMax(c, "max", arg(c, args, 0, info), arg(c, args, 1, info), info.name);
    return minMax(c, "min", low as Numeric, arg(c, args, 2, info), info.name);
  }),
  idiv: entry(2, 2, (c, args, info) => integerDivide(c, arg(c, args, 0, info), arg(c, args, 1, info), info.name)),
  cdiv: entry(2, 2, (c, args, info) => {
    const [a, b] = [arg(c, args, 0, info), arg(c, args, 1, info)];
    const more = offsetBy(c, "-", b, literal(1));
    return integerDivide(c, offsetBy(c, "+", a, more), b, info.name);
  }),

  where: entry(3, 3, (c, args, info) => {
    const condition = arg(c, args, 0, info);
    if (condition.kind === "literal") return args[condition.value ? 1 : 2];
    return select(c, toBool(c, condition), arg(c, args, 1, info), arg(c, args, 2, info), info.name);
  }),
  cast: entry(2, 2, (c, args, info) => {
    const dtype = dtypeOf(c, args[1], `argument 2 of ${info.name}`);
    if (dtype === undefined) return c.fail(`${info.name} needs a type`);
    return runTime(castTo(c, arg(c, args, 0, info), dtype));
  }),
  bitcast: entry(2, 2, (c, args, info) => {
    const to = dtypeOf(c, args[1], `argument 2 of ${info.name}`);
    const x = tile(c, args, 0, info);
    return runTime(x.type.dtype === to ? x : c.emit("bitcast", [x], { to: to as Attr }, info.name));
  }),

  sum: reducing("sum"),
  argmax: reducing("argmax"),
  argmin: reducing("argmin"),
  any: reducing("any"),
  all: reducing("all"),

  dot: entry(2, 4, dot),
  dot4: entry(3, 4, dot4),
  dot2: entry(3, 3, dot2),
  dotPairs: entry(3, 3, dotPairs),
  byteSign: entry(2, 2, byteSign),
  byteLookup: entry(2, 2, byteLookup),
  pack4: entry(4, 4, pack4),

  ...ATOMICS,
  ...SCANS,
  ...THREADS,
  ...SIMD,
  print: entry(1, Infinity, print),

  unroll: entry(1, 3, (c, args, info) => {
    const n = args.map((v) => c.integer(v, `a bound of ${info.name}`));
    const [start, end, step] = n.length === 1 ? [0, n[0], 1] : [n[0], n[1], n[2] ?? 1];
    if (step === 0) c.fail(`${info.name}: the step must not be 0`);
    const items: number[] = [];
    for (let i = start; step > 0 ? i < end : i > end; i += step) items.push(i);
    if (items.length > 4096) c.fail(`${info.name}: ${items.length} turns are too many to write out`, "Use a run-time loop.");
    return { kind: "range", items };
  }),
  staticAssert: entry(1, 2, (c, args, info) => {
    const [ok, message] = args;
    if (ok.kind !== "literal") return c.fail(`${info.name} needs a condition known at compile time, got ${describe(ok)}`);
    if (!ok.value) c.fail(message?.kind === "literal" ? String(message.value) : `${info.name} failed`);
    return UNDEFINED;
  }),
  isConst: entry(1, 1, (_, args) => literal(args[0].kind === "literal")),
};

const offsetBy = (c: Compiler, op: "+" | "-", a: Numeric, b: Numeric): Numeric => binary(c, op, a, b) as Numeric;

function castTo(c: Compiler, x: Numeric, dtype: DType): Value {
  if (x.kind === "literal" && isInt(dtype) && typeof x.value === "number" && !Number.isInteger(x.value)) {
    return c.convert(c.toValue(x, "f64"), dtype);
  }
  const value = c.toValue(x, dtype);
  // A type was chosen for this literal.
  if (x.kind === "literal") c.untyped.delete(value);
  return value;
}

/** Names of all operations, for documentation tests and suggestions. */
export const VOCABULARY: readonly string[] = Object.keys(ENTRIES);

function builtin(name: string, e: Entry): CT {
  return {
    kind: "builtin",
    name,
    call(c, args, info) {
      const [min, max] = e.args;
      if (args.length < min || args.length > max) {
        const count = min === max ? String(min) : max === Infinity ? `at least ${min}` : `${min} to ${max}`;
        c.fail(
          `${name} takes ${count} argument${count === "1" ? "" : "s"}, got ${args.length}`,
          "docs/kernel-language.md lists every operation with its arguments.",
        );
      }
      return e.build(c, args, info);
    },
  };
}

/** The first parameter of every kernel. */
export const vocabulary: NamespaceValue = {
  kind: "namespace",
  name: "al",
  get(c, name) {
    const e = ENTRIES[name];
    if (e && Object.hasOwn(ENTRIES, name)) return builtin(`al.${name}`, e);
    if (Object.hasOwn(DTYPES, name)) return { kind: "dtype", dtype: name as DType };
    const near = suggest(name, [...VOCABULARY, ...Object.keys(DTYPES)]);
    return c.fail(`there is no al.${name}`, near ? `Did you mean al.${near}?` : "docs/kernel-language.md lists the vocabulary.");
  },
};

const MATH_OPS = ["exp", "log", "log2", "sin", "cos", "tanh", "sqrt", "abs", "floor", "ceil", "round", "trunc", "pow", "min", "max"];

/** JavaScript's Math, as far as the vocabulary has the function. */
export const mathNamespace: NamespaceValue = {
  kind: "namespace",
  name: "Math",
  get(c, name) {
    if (MATH_OPS.includes(name)) return builtin(`Math.${name}`, ENTRIES[name]);
    if (name === "PI" || name === "E" || name === "LN2" || name === "LOG2E" || name === "SQRT2" || name === "SQRT1_2")
      return literal(Math[name]);
    const near = suggest(name, MATH_OPS);
    return c.fail(`Math.${name} is not part of the kernel language`, near ? `Did you mean Math.${near}?` : undefined);
  },
};
