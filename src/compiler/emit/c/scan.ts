/** Running values along an axis: a loop over it, in vectors where it is not the last one. */
import { scanIdentity } from "../../ir/interpret-shape.ts";
import type { Op } from "../../ir/types.ts";
import { elements } from "../../ir/types.ts";
import { literal } from "./elementwise.ts";
import type { Emitter } from "./emitter.ts";
import type { Ix } from "./values.ts";
import { cName, vectorType } from "./values.ts";
import { combine, loops } from "./reduce.ts";

export function scan(e: Emitter, op: Op): void {
  const [x] = op.args;
  const out = op.results[0];
  const { dtype, shape } = out.type;
  const { axis, kind, reverse, exclusive } = op.attrs as { axis: number; kind: string; reverse: boolean; exclusive: boolean };
  const n = shape[axis];
  const last = axis === shape.length - 1;
  const name = e.array(dtype, elements(shape), `${cName(out)}_a`, op.loc);
  const others = shape.filter((_, a) => a !== axis);
  loops(e, others, last ? 1 : e.isa.width, (idx, w) => {
    const at = (k: Ix): Ix[] => [...idx.slice(0, axis), k, ...idx.slice(axis)];
    const store = (k: Ix, value: string): void => e.storeArray(name, shape, dtype, at(k), w, value);
    const first = reverse ? n - 1 : 0;
    const acc = e.temp("acc");
    e.line(`${vectorType(dtype, w)} ${acc} = ${e.get(x, at(first), w)};`);
    store(first, exclusive ? e.splat(dtype, w, literal(dtype, scanIdentity(kind, dtype))) : acc);
    const k = e.temp("k");
    const head = reverse ? `for (int32_t ${k} = ${n - 2}; ${k} >= 0; ${k}--)` : `for (int32_t ${k} = 1; ${k} < ${n}; ${k}++)`;
    e.scope(head, () => {
      if (exclusive) store(k, acc);
      e.line(`${acc} = ${combine(kind, dtype, w, acc, e.get(x, at(k), w))};`);
      if (!exclusive) store(k, acc);
    });
  });
  e.set(out, { kind: "array", eff: shape, name });
}
