/** al.print: lowered to atomics and stores on a hidden buffer, so that targets need to know nothing of it. */
import { PRINT_HEADER, RECORD_HEAD, elementWords, recordWords } from "../ir/print-records.ts";
import { broadcastShapes } from "../ir/ops.ts";
import type { Value, ValueType } from "../ir/types.ts";
import { elements, PRINT_PARAM } from "../ir/types.ts";
import type { Handler } from "./arguments.ts";
import type { Compiler } from "./compiler.ts";
import { describe, literal, runTime, UNDEFINED } from "./values.ts";
import { binary } from "./operators.ts";
import type { CT } from "./values.ts";
import { locOf } from "./source.ts";

/** Elements that one print may show. */
const MAX_ELEMENTS = 1024;

/** Index of the hidden parameter, declared at the first print. */
function printParam(c: Compiler): number {
  const { params } = c.builder;
  const known = params.findIndex((p) => p.name === PRINT_PARAM);
  return known >= 0 ? known : params.push({ name: PRINT_PARAM, kind: "ptr", dtype: "i32", output: false }) - 1;
}

/** Number of a print; one that is compiled several times (a loop's body is) keeps its number. */
function siteOf(c: Compiler, label: string, types: readonly ValueType[], line: number): number {
  const sites = (c.builder.facts.prints ??= []) as { label: string; types: readonly ValueType[]; line: number }[];
  const same = (s: (typeof sites)[number]): boolean =>
    s.label === label && s.line === line && JSON.stringify(s.types) === JSON.stringify(types);
  const known = sites.findIndex(same);
  return known >= 0 ? known : sites.push({ label, types, line }) - 1;
}

/** A value as the bits that travel: half floats and small integers widen to 32 bits. */
function widened(c: Compiler, v: Value): Value {
  const { dtype } = v.type;
  if (dtype === "f16" || dtype === "bf16") return c.convert(v, "f32");
  return dtype === "i8" || dtype === "u8" || dtype === "i16" || dtype === "u16" ? c.convert(v, "i32") : v;
}

/** The i32 words of a value's elements, low half first for 64 bits: tiles of the value's shape, flat. */
function words(c: Compiler, v: Value): Value[] {
  const flat = v.type.shape.length > 1 ? c.emit("reshape", [v], { shape: [elements(v.type.shape)] }) : v;
  const { dtype } = v.type;
  if (dtype === "i32") return [flat];
  if (dtype === "bool") return [c.convert(flat, "i32")];
  if (dtype === "f32" || dtype === "u32") return [c.emit("bitcast", [flat], { to: "i32" })];
  const bits = dtype === "u64" ? flat : c.emit("bitcast", [flat], { to: "u64" });
  const half = (x: Value): Value => c.emit("bitcast", [c.convert(x, "u32")], { to: "i32" });
  const shift = c.builder.broadcast(c.constant({ dtype: "u64", shape: [] }, 32), flat.type.shape);
  return [half(bits), half(c.emit("shr", [bits, shift]))];
}

export const print: Handler = (c, args, info) => {
  const [label, ...rest] = args;
  if (label.kind !== "literal" || typeof label.value !== "string")
    return c.fail(
      `argument 1 of ${info.name} must be a label, got ${describe(label)}`,
      `Write ${info.name}("x", x).`,
      info.node.arguments[0],
    );
  const values = rest.map((v, i) => widened(c, c.toValue(c.numeric(v, `argument ${i + 2} of ${info.name}`, info.node.arguments[i + 1]))));
  const types = values.map((v) => v.type);
  const total = types.reduce((n, t) => n + elements(t.shape), 0);
  if (total > MAX_ELEMENTS) c.fail(`${info.name} shows at most ${MAX_ELEMENTS} elements at once, got ${total}`, "Print a slice, or a sum.");

  const param = printParam(c);
  const i32 = (n: number): Value => c.constant({ dtype: "i32", shape: [] }, n);
  const size = recordWords(types);
  const bump = (word: number, by: number): Value =>
    c.emit("atomic", [i32(word), i32(by)], { param, kind: "add", masked: false }, info.name);
  bump(PRINT_HEADER.records, 1);
  const at = bump(PRINT_HEADER.cursor, size);
  const capacity = c.emit("load", [i32(PRINT_HEADER.capacity)], { param });
  // A cursor that ran over 2^31 is negative: nothing fits.
  const fits = c.emit("and", [c.emit("ge", [at, i32(0)]), c.emit("le", [at, c.emit("sub", [capacity, i32(size)])])]);

  const record = c.emit("add", [at, i32(PRINT_HEADER.words)]);
  const store = (offset: Value, value: Value): void => {
    const { shape } = offset.type;
    const parts = [offset, value, fits].map((v) => c.builder.broadcast(v, broadcastShapes(v.type.shape, shape)!));
    c.effect("store", parts, { param }, info.name);
  };
  const plus = (a: Value, n: number): Value => (n === 0 ? a : c.emit("add", [a, i32(n)]));
  const line = locOf(c.sources.length > 1 ? c.sources[1].call : info.node)?.line ?? 1;
  const head: Value[] = [
    i32(siteOf(c, label.value, types, line) + 1),
    ...[0, 1, 2].map((axis) => c.emit("programId", [], { axis })),
    threadIndex(c),
  ];
  head.forEach((v, i) => store(plus(record, i), v));
  let next = RECORD_HEAD;
  for (const v of values) {
    const n = elements(v.type.shape);
    const step = elementWords(v.type);
    words(c, v).forEach((word, k) => {
      const first = plus(record, next + k);
      if (word.type.shape.length === 0) return store(first, word);
      const index = c.emit("arange", [], { start: 0, n });
      const scaled = step === 1 ? index : c.emit("mul", [index, c.builder.broadcast(i32(step), [n])]);
      store(c.emit("add", [c.builder.broadcast(first, [n]), scaled]), word);
    });
    next += n * step;
  }
  return UNDEFINED;
};

/** The thread's linear index; 0 at the tile level. */
function threadIndex(c: Compiler): Value {
  const { threads } = c.builder.facts;
  const zero: CT = literal(0);
  let index: CT = zero;
  let stride = 1;
  (threads ?? []).forEach((n, axis) => {
    if (n > 1) index = binary(c, "+", index, binary(c, "*", runTime(c.emit("threadId", [], { axis })), literal(stride)));
    stride *= n;
  });
  return c.toValue(c.numeric(index, "the thread"), "i32");
}
