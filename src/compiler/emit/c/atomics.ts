/** Atomic steps: one element after the other, by a function of the prelude. */
import type { Op } from "../../ir/types.ts";
import { elements } from "../../ir/types.ts";
import type { Emitter } from "./emitter.ts";
import type { Ix } from "./values.ts";
import { cName, storedType } from "./values.ts";
import { paramName } from "./memory.ts";
import { loops } from "./reduce.ts";

export function atomic(e: Emitter, op: Op): void {
  const masked = op.attrs.masked === true;
  const operands = masked ? op.args.slice(0, -1) : op.args;
  const [offset, ...values] = operands;
  const mask = masked ? op.args.at(-1) : undefined;
  const out = op.results[0];
  const { dtype, shape } = out.type;
  const used = (e.analysis.users.get(out)?.length ?? 0) > 0;
  const own = e.ir.params[op.attrs.param as number].kind === "shared";
  const type = `${storedType(dtype)}x1`;
  const step = (idx: readonly Ix[]): string =>
    `${own ? "own" : "atomic"}_${op.attrs.kind as string}_${dtype}(${[`${paramName(e, op)} + ${e.get(offset, idx, 1)}`, ...values.map((v) => e.get(v, idx, 1))].join(", ")})`;
  if (elements(shape) === 1) {
    const idx = shape.map(() => 0);
    const condition = mask && e.get(mask, idx, 1);
    if (!used) e.line(`${condition ? `if (${condition}) ` : ""}${step(idx)};`);
    else e.constant(type, condition ? `${condition} ? ${step(idx)} : 0` : step(idx), cName(out, "old"));
    e.set(out, { kind: "uniform", expr: used ? cName(out, "old") : "0" });
    return;
  }
  const name = used ? e.array(dtype, elements(shape), `${cName(out, "old")}_a`, op.loc) : "";
  loops(e, shape, 1, (idx) => {
    const condition = mask && e.get(mask, idx, 1);
    if (used) e.storeArray(name, shape, dtype, idx, 1, condition ? `${condition} ? ${step(idx)} : 0` : step(idx));
    else e.line(`${condition ? `if (${condition}) ` : ""}${step(idx)};`);
  });
  e.set(out, used ? { kind: "array", eff: shape, name } : { kind: "uniform", expr: "0" });
}
