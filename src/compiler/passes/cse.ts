/** Common subexpression elimination: of equal pure ops, the first that is visible serves all. */
import { attrText } from "../ir/print.ts";
import { typeText } from "../ir/ops.ts";
import type { Block, Op, Value } from "../ir/types.ts";
import type { Pass } from "./pass.ts";
import { canBeKept, isPure, keepName } from "./pass.ts";

export const cse: Pass = {
  name: "cse",
  run(ir) {
    merge(ir.body, new Map(), []);
  },
};

/** Operands may change places without changing a bit of the result. */
const COMMUTATIVE = new Set(["add", "mul", "and", "or", "xor", "eq", "ne"]);

type Seen = Map<string, Value>;

/** `outer`: what the enclosing blocks have computed so far. */
function merge(block: Block, replaced: Map<Value, Value>, outer: readonly Seen[]): void {
  const seen: Seen = new Map();
  const scopes = [seen, ...outer];
  block.ops = block.ops.filter((op) => {
    op.args = op.args.map((a) => replaced.get(a) ?? a);
    for (const r of op.regions) merge(r, replaced, scopes);
    if (!isPure(op) || !canBeKept(op)) return true;
    const k = key(op);
    const [result] = op.results;
    const first = scopes.find((s) => s.has(k))?.get(k);
    if (!first) {
      seen.set(k, result);
      return true;
    }
    keepName(result, first);
    replaced.set(result, first);
    return false;
  });
}

function key(op: Op): string {
  const ids = op.args.map((a) => a.id);
  if (COMMUTATIVE.has(op.op)) ids.sort((a, b) => a - b);
  const attrs = Object.keys(op.attrs).map((name) => `${name}=${attrText(op.attrs[name])}`);
  return `${op.op}(${ids.join()}){${attrs.join()}}${typeText(op.results[0].type)}`;
}
