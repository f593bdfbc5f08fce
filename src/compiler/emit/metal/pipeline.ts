/**
 * Software pipelining: what a turn of a loop loads for a product is loaded a turn ahead, so that memory works while the matrices are
 * multiplied. The tile becomes a value that the loop carries: loaded before the loop for the first turn, and in each turn for the next one,
 * behind a mask that is false when there is no next turn.
 *
 *   for k { x = load(f(k)); acc = dot(x, …) }   becomes   x0 = load(f(lower)); for k, x { x' = load(f(k + step)); acc = dot(x, …); yield x' }
 */
import type { Block, KernelIR, Op, Value } from "../../ir/types.ts";
import { elements } from "../../ir/types.ts";
import { OPS } from "../../ir/ops.ts";
import { walk } from "../../ir/walk.ts";

/** A copy of `ir` with pipelined loops, or `ir` itself where there is nothing to do. */
export function pipeline(ir: KernelIR): KernelIR {
  if (ir.threads) return ir;
  const users = new Map<Value, Op[]>();
  walk(ir.body, (op) => {
    for (const a of op.args) users.set(a, [...(users.get(a) ?? []), op]);
  });
  const out: KernelIR = { ...ir };
  const state: State = { ir: out, users, changed: false };
  out.body = rewrite(state, ir.body);
  return state.changed ? out : ir;
}

interface State {
  ir: KernelIR;
  users: ReadonlyMap<Value, readonly Op[]>;
  changed: boolean;
}

function rewrite(s: State, block: Block): Block {
  const ops: Op[] = [];
  for (const op of block.ops) {
    if (op.op === "for") {
      ops.push(...pipelined(s, { ...op, regions: op.regions.map((r) => rewrite(s, r)) }));
    } else ops.push(op.regions.length ? { ...op, regions: op.regions.map((r) => rewrite(s, r)) } : op);
  }
  return { args: block.args, ops };
}

/** The loop, with what must stand in front of it. */
function pipelined(s: State, loop: Op): Op[] {
  const [body] = loop.regions;
  const loads = body.ops.filter((op) => op.op === "load" && feedsProduct(s, body, op) && !storedInside(loop, op));
  const chosen = loads.flatMap((op) => {
    const chain = addressChain(body, op);
    return chain ? [{ op, chain }] : [];
  });
  if (!chosen.length) return [loop];
  s.changed = true;
  const [lower, upper, step, ...inits] = loop.args;
  const [iv, ...carried] = body.args;
  const before: Op[] = [];
  const next: Op[] = [];
  const fresh = (type: Value["type"], name?: string): Value => ({ id: s.ir.nextId++, type, name });
  const emit = (to: Op[], op: string, args: Value[], type: Value["type"], attrs: Op["attrs"] = {}, loc = loop.loc): Value => {
    const v = fresh(type);
    to.push({ op, args, results: [v], attrs, regions: [], loc });
    return v;
  };
  const bool = { dtype: "bool", shape: [] } as const;
  const compare = loop.attrs.down ? "gt" : "lt";
  const first = emit(before, compare, [lower, upper], bool);
  const ahead = emit(next, "add", [iv, step], iv.type);
  const more = emit(next, compare, [ahead, upper], bool);
  const cloneLoad = (to: Op[], load: Op, chain: readonly Op[], at: Value, guard: Value): Value => {
    const map = new Map<Value, Value>([[iv, at]]);
    const get = (v: Value): Value => map.get(v) ?? v;
    for (const op of chain) {
      const results = op.results.map((r) => fresh(r.type));
      op.results.forEach((r, i) => map.set(r, results[i]));
      to.push({ ...op, args: op.args.map(get), results });
    }
    const { shape } = load.results[0].type;
    const on = emit(to, "broadcast", [guard], { dtype: "bool", shape }, { shape }, load.loc);
    const mask = load.args[1] ? emit(to, "and", [on, get(load.args[1])], { dtype: "bool", shape }, {}, load.loc) : on;
    const result = fresh(load.results[0].type);
    to.push({ ...load, args: [get(load.args[0]), mask, ...(load.args[2] ? [get(load.args[2])] : [])], results: [result] });
    return result;
  };
  const starts = chosen.map(({ op, chain }) => cloneLoad(before, op, chain, lower, first));
  const nexts = chosen.map(({ op, chain }) => cloneLoad(next, op, chain, ahead, more));
  const moved = new Set(chosen.map(({ op }) => op));
  const args = chosen.map(({ op }) => op.results[0]);
  const end = body.ops.at(-1)!;
  const rest = body.ops.slice(0, -1).filter((op) => !moved.has(op));
  const region: Block = {
    args: [iv, ...carried, ...args],
    ops: [...next, ...rest, { ...end, args: [...end.args, ...nexts] }],
  };
  const results = args.map((a) => fresh(a.type, a.name));
  return [
    ...before,
    { ...loop, args: [lower, upper, step, ...inits, ...starts], results: [...loop.results, ...results], regions: [region] },
  ];
}

/** True if the tile reaches an operand of a product of the same block through elementwise ops, and nothing else reads it. */
function feedsProduct(s: State, body: Block, load: Op): boolean {
  if (elements(load.results[0].type.shape) === 1) return false;
  const inBlock = new Set(body.ops);
  const reaches = (v: Value): boolean => {
    const list = s.users.get(v) ?? [];
    return (
      list.length > 0 && list.every((op) => inBlock.has(op) && (op.op === "dot" ? op.args[2] !== v : isLight(op) && reaches(op.results[0])))
    );
  };
  return reaches(load.results[0]);
}

const isLight = (op: Op): boolean => OPS[op.op].elementwise || op.op === "transpose" || op.op === "reshape" || op.op === "broadcast";

function storedInside(loop: Op, load: Op): boolean {
  let found = false;
  walk(loop.regions[0], (op) => {
    found ||= (op.op === "store" || op.op === "atomic") && op.attrs.param === load.attrs.param;
  });
  return found;
}

/** The ops of the body that a load's operands are computed with, in order; undefined if they depend on more than the turn's number. */
function addressChain(body: Block, load: Op): Op[] | undefined {
  const defs = new Map(body.ops.flatMap((op) => op.results.map((r) => [r, op] as const)));
  const carried = new Set(body.args.slice(1));
  const needed = new Set<Op>();
  const visit = (v: Value): boolean => {
    if (carried.has(v)) return false;
    const op = defs.get(v);
    if (!op || needed.has(op)) return true;
    if (!OPS[op.op].pure || op.op === "dot" || op.op === "reduce") return false;
    if (!op.args.every(visit)) return false;
    needed.add(op);
    return true;
  };
  return load.args.every(visit) ? body.ops.filter((op) => needed.has(op)) : undefined;
}
