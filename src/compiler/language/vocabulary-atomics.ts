/** Scans of tiles, and atomic steps on memory that several threads or programs change. */
import { ATOMIC_TYPES, SCAN_KINDS } from "../ir/ops.ts";
import type { Value } from "../ir/types.ts";
import type { Entry, Handler } from "./arguments.ts";
import { arg, axisOf, entry, flag, maskOf, offsetOf, options, pointer, tile } from "./arguments.ts";
import type { Compiler } from "./compiler.ts";
import { computeType } from "./promote.ts";
import type { CallInfo, CT } from "./values.ts";
import { describe, isUndefined, runTime } from "./values.ts";
import { fitted } from "./vocabulary-memory.ts";

function scanOf(c: Compiler, args: CT[], kind: string, given: Partial<Record<"axis" | "reverse" | "exclusive", CT>>, info: CallInfo): CT {
  const x = tile(c, args, 0, info);
  if (x.type.shape.length === 0)
    return c.fail(
      `${info.name} runs along an axis of a tile, got ${describe(runTime(x))}`,
      "Among threads: al.simdPrefixSum.",
      info.node.arguments[0],
    );
  const axis = given.axis === undefined ? x.type.shape.length - 1 : axisOf(c, given.axis, x.type.shape.length, info);
  const reverse = flag(c, given.reverse, `option reverse of ${info.name}`);
  const exclusive = flag(c, given.exclusive, `option exclusive of ${info.name}`);
  const stored = x.type.dtype;
  const result = c.emit("scan", [c.convert(x, computeType(stored))], { kind, axis, reverse, exclusive }, info.name);
  return runTime(stored === "f16" || stored === "bf16" ? c.convert(result, stored) : result);
}

/** al.cumsum(x), al.cumsum(x, axis), al.cumsum(x, { axis, reverse, exclusive }). */
const cumulative =
  (kind: string): Handler =>
  (c, args, info) => {
    const second = args[1];
    if (second === undefined || isUndefined(second)) return scanOf(c, args, kind, {}, info);
    if (second.kind !== "object") return scanOf(c, args, kind, { axis: second }, info);
    return scanOf(c, args, kind, options(c, second, ["axis", "reverse", "exclusive"], info), info);
  };

const scan: Handler = (c, args, info) => {
  const { kind, ...rest } = options(c, args[1], ["kind", "axis", "reverse", "exclusive"], info);
  const name = kind === undefined ? "sum" : kind.kind === "literal" ? kind.value : undefined;
  if (typeof name !== "string" || !SCAN_KINDS.includes(name))
    return c.fail(`option kind of ${info.name} must be one of ${SCAN_KINDS.join(", ")}, got ${describe(kind!)}`);
  return scanOf(c, args, name, rest, info);
};

const atomic = (kind: string, operands: readonly string[]): Entry => {
  const n = operands.length + 1;
  return entry(n, n + 1, (c, args, info) => {
    const p = pointer(c, args, 0, info);
    const param = c.builder.params[p.param];
    if (param.kind === "local")
      c.fail(
        `${info.name} on local memory: no other thread sees it`,
        "Load, change and store it, or declare it with al.shared.",
        info.node.arguments[0],
      );
    if (!ATOMIC_TYPES[kind].includes(param.dtype))
      c.fail(
        `${info.name} does not work on ${param.dtype}`,
        `It works on pointers to ${ATOMIC_TYPES[kind].join(", ")}: declare ${param.name} as one of these.`,
        info.node.arguments[0],
      );
    const offset = offsetOf(c, p);
    const fit = (x: Value, what: string): Value => fitted(c, x, offset, `the ${what} of ${info.name}`);
    const values = operands.map((what, i) => fit(c.toValue(arg(c, args, i + 1, info), param.dtype), what));
    const { mask } = options(c, args[n], ["mask"], info);
    if (mask?.kind === "literal" && !mask.value) return runTime(c.constant({ dtype: param.dtype, shape: offset.type.shape }, 0));
    const m = maskOf(c, mask, info);
    const parts = m ? [offset, ...values, fit(m, "mask")] : [offset, ...values];
    return runTime(c.emit("atomic", parts, { param: p.param, kind, masked: m !== undefined }, info.name));
  });
};

export const SCANS: Readonly<Record<string, Entry>> = {
  scan: entry(1, 2, scan),
  cumsum: entry(1, 2, cumulative("sum")),
  cumprod: entry(1, 2, cumulative("prod")),
  cummax: entry(1, 2, cumulative("max")),
  cummin: entry(1, 2, cumulative("min")),
};

export const ATOMICS: Readonly<Record<string, Entry>> = {
  ...Object.fromEntries(
    ["add", "min", "max", "and", "or", "xor"].map((k) => [`atomic${k[0].toUpperCase()}${k.slice(1)}`, atomic(k, ["value"])]),
  ),
  atomicExchange: atomic("xchg", ["value"]),
  atomicCas: atomic("cas", ["compared value", "value"]),
};
