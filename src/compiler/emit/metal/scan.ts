/** Prefix sums and the like along an axis: within a thread, then between lanes, then between simdgroups. */
import type { Op } from "../../ir/types.ts";
import { elements, isFloat } from "../../ir/types.ts";
import { bare, literal, mslType } from "./expressions.ts";
import { conditions, fromScratch, shuffled, speaker, toScratch } from "./convert.ts";
import type { Emitter, Reg } from "./emitter.ts";
import { linear } from "./emitter.ts";
import { axisOf, bit, coveredSize, dropAxis, NONE, registers, runs, runsText } from "./layout.ts";
import { asVariable, combine, identity, neutral, registerText } from "./reduce.ts";

export function scan(e: Emitter, op: Op): void {
  const [x] = op.args;
  const [v] = op.results;
  const { kind, axis, reverse, exclusive } = op.attrs as { kind: string; axis: number; reverse: boolean; exclusive: boolean };
  const { dtype, shape } = v.type;
  const T = mslType(dtype);
  const start = neutral(kind, dtype);
  if (e.a.kind(v) === "unit") return e.setUnit(v, exclusive ? literal(dtype, identity(kind, dtype)) : e.unit(x));
  const l = e.layouts.scanLayout(op);
  const out = e.storage(v, l, "scan");
  const rest = dropAxis(l, axis);
  const results = registers(rest);
  const n = registers(l) / results;
  const lanes = l.lanes.flatMap((b, i) => (b !== NONE && axisOf(b) === axis ? [i] : []));
  const groups = l.groups.flatMap((b, i) => (b !== NONE && axisOf(b) === axis ? [i] : []));
  const total = { layout: rest, name: e.names.make(`${out.name}_before`), count: results };
  e.before(`${T} ${total.name}${results > 1 ? `[${results}]` : ""};`);
  const sums = groups.length ? e.scratch(`${out.name}_sums`, dtype, elements(restSizes()) * 2 ** groups.length) : undefined;

  /** Sizes of the other axes as the layout covers them. */
  function restSizes(): number[] {
    return shape.flatMap((_, i) => (i === axis ? [] : [coveredSize(l, i)]));
  }

  e.emit(sums ? [{ memory: sums, kind: "write" }] : [], () =>
    e.each(
      results,
      1,
      (q) => {
        const before = e.element(total, rest, q);
        e.line(`${before} = ${start};`);
        const visit = (k: Reg): void => {
          const r = asVariable(
            e,
            registerText(l, axis, q, typeof k === "number" ? (reverse ? n - 1 - k : k) : reverse ? `(${n - 1} - ${k})` : k),
          );
          const inside = coveredSize(l, axis) > shape[axis] ? `${e.coordinate(l, axis, r)} < ${shape[axis]}` : "";
          const text = e.get(x, l, r);
          const value = inside ? `(${inside} ? ${text} : ${start})` : text;
          const to = e.element(out, l, r);
          if (exclusive) e.line(`${to} = ${before};`);
          e.line(`${before} = ${combine(kind, dtype, before, value)};`);
          if (!exclusive) e.line(`${to} = ${before};`);
        };
        e.each(n, 1, visit, "k");
        if (lanes.length) laneTotals(q);
      },
      "q",
    ),
  );

  /** Turns a lane's total into what comes before the lane, and hands the simdgroup's total on. */
  function laneTotals(q: Reg): void {
    const before = e.element(total, rest, q);
    const position = lanePosition();
    const last = 2 ** lanes.length - 1;
    const low = lanes[0];
    const run = e.names.make("run");
    e.line(`${T} ${run} = ${before};`);
    for (let d = 1; d <= last; d *= 2) {
      const other = e.names.make("other");
      e.line(`const ${T} ${other} = ${shuffled(dtype, run, String(d << low), reverse ? "_down" : "_up")};`);
      e.line(`if (${reverse ? `${position} + ${d} <= ${last}` : `${position} >= ${d}`}) ${run} = ${combine(kind, dtype, run, other)};`);
    }
    const shifted = e.names.make("shifted");
    e.line(`const ${T} ${shifted} = ${shuffled(dtype, run, String(1 << low), reverse ? "_down" : "_up")};`);
    e.line(`${before} = ${position} == ${reverse ? last : 0} ? ${start} : ${shifted};`);
    if (sums)
      e.line(
        `if (${conditions(speaker(e, l), `${position} == ${reverse ? 0 : last}`)}) ${sums.name}[${sumAt(q, groupPosition())}] = ${toScratch(dtype, run)};`,
      );
  }

  function lanePosition(): string {
    const moved = l.lanes.map((b) => (b !== NONE && axisOf(b) === axis ? bit(0, lanes.indexOf(l.lanes.indexOf(b))) : NONE));
    return `(${bare(runsText(runs(moved, 0), e.builtin("lane")))})`;
  }
  function groupPosition(): string {
    const moved = l.groups.map((b) => (b !== NONE && axisOf(b) === axis ? bit(0, groups.indexOf(l.groups.indexOf(b))) : NONE));
    return `(${bare(runsText(runs(moved, 0), e.builtin("simdgroup")))})`;
  }
  function sumAt(q: Reg, g: string): string {
    const sizes = restSizes();
    const p = linear(
      sizes.map((_, i) => e.coordinate(rest, i, q)),
      sizes,
    );
    return p === "0" ? g : `${p} * ${2 ** groups.length} + ${g}`;
  }

  if (lanes.length) {
    e.emit(sums ? [{ memory: sums, kind: "read" }] : [], () =>
      e.each(
        results,
        1,
        (q) => {
          const before = e.element(total, rest, q);
          if (sums) {
            const g = e.names.make("g");
            const [from, to] = reverse ? [`${groupPosition()} + 1`, String(2 ** groups.length)] : ["0", groupPosition()];
            e.line(
              `for (int ${g} = ${from}; ${g} < ${to}; ++${g}) ${before} = ${combine(kind, dtype, before, fromScratch(dtype, `${sums.name}[${sumAt(q, g)}]`))};`,
            );
          }
          e.each(
            n,
            1,
            (k) => {
              const to = e.element(out, l, asVariable(e, registerText(l, axis, q, k)));
              e.line(`${to} = ${combine(kind, dtype, before, to)};`);
            },
            "k",
          );
        },
        "q",
      ),
    );
  }
  // Nothing comes before the first element, which is not the same as NaN.
  if (exclusive && isFloat(dtype) && (kind === "max" || kind === "min")) {
    e.emit([], () =>
      e.each(out.count, 1, (r) => {
        const first = `${e.coordinate(l, axis, r)} == ${reverse ? shape[axis] - 1 : 0}`;
        e.line(`if (${first}) ${e.element(out, l, r)} = ${literal(dtype, kind === "max" ? -Infinity : Infinity)};`);
      }),
    );
  }
  e.addStored(v, out);
}
