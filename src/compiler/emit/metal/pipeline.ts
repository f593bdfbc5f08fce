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
    for (const a of op.args) {
      const list = users.get(a);
      if (list) list.push(op);
      else users.set(a, [op]);
    }
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
  if (!body.ops.some((op) => op.op === "dot")) return [loop];
  const inBlock = new Set(body.ops);
  const loads = body.ops.filter((op) => op.op === "load" && feedsProduct(s, inBlock, op) && !storedInside(loop, op));
  const chosen = loads.flatMap((op) => {
    const chain = addressChain(loop, op);
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
  /** Operands of a load whose mask also asks for `guard`. */
  const guarded = (to: Op[], [offset, mask, other]: Value[], shape: readonly number[], guard: Value, loc: Op["loc"]): Value[] => {
    const type = { dtype: "bool", shape } as const;
    const on = shape.length ? emit(to, "broadcast", [guard], type, { shape }, loc) : guard;
    return [offset, mask ? emit(to, "and", [on, mask], type, {}, loc) : on, ...(other ? [other] : [])];
  };
  const maps = new Map([before, next].map((to) => [to, new Map<Value, Value>()]));
  const cloneLoad = (to: Op[], load: Op, chain: readonly Op[], at: Value, guard: Value): Value => {
    const map = maps.get(to)!.set(iv, at);
    const get = (v: Value): Value => map.get(v) ?? v;
    for (const op of chain) {
      if (map.has(op.results[0])) continue;
      const results = op.results.map((r) => fresh(r.type));
      const args = op.args.map(get);
      op.results.forEach((r, i) => map.set(r, results[i]));
      to.push({ ...op, args: op.op === "load" ? guarded(to, args, op.results[0].type.shape, guard, op.loc) : args, results });
    }
    const result = fresh(load.results[0].type, load.results[0].name && `${load.results[0].name}${to === before ? "" : "_next"}`);
    to.push({ ...load, args: guarded(to, load.args.map(get), load.results[0].type.shape, guard, load.loc), results: [result] });
    return result;
  };
  const starts = chosen.map(({ op, chain }) => cloneLoad(before, op, chain, lower, first));
  const nexts = chosen.map(({ op, chain }) => cloneLoad(next, op, chain, ahead, more));
  const moved = new Set(chosen.map(({ op }) => op));
  const args = chosen.map(({ op }) => op.results[0]);
  const end = body.ops.at(-1)!;
  const rest = withoutDead(body.ops.filter((op) => !moved.has(op))).slice(0, -1);
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

/** Ops of the body whose results are still read: addresses of what is loaded elsewhere now are not. */
function withoutDead(ops: readonly Op[]): Op[] {
  const read = new Set<Value>();
  const note = (op: Op): void => op.args.forEach((a) => read.add(a));
  return ops
    .toReversed()
    .filter((op) => {
      const kept =
        op.results.length === 0 ||
        op.regions.length > 0 ||
        !(OPS[op.op].pure || op.op === "load" || op.op === "const") ||
        op.results.some((r) => read.has(r));
      if (kept) {
        note(op);
        for (const r of op.regions) walk(r, note);
      }
      return kept;
    })
    .toReversed();
}

/** True if the tile reaches an operand of a product of the same block through elementwise ops, and nothing else reads it. */
function feedsProduct(s: State, inBlock: ReadonlySet<Op>, load: Op): boolean {
  if (elements(load.results[0].type.shape) === 1) return false;
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
function addressChain(loop: Op, load: Op): Op[] | undefined {
  const [body] = loop.regions;
  const defs = new Map(body.ops.flatMap((op) => op.results.map((r) => [r, op] as const)));
  const carried = new Set(body.args.slice(1));
  const needed = new Set<Op>();
  const visit = (v: Value): boolean => {
    if (carried.has(v)) return false;
    const op = defs.get(v);
    if (!op || needed.has(op)) return true;
    // An address may itself be loaded, one element at a time: entries of block tables are.
    const entry = op.op === "load" && elements(op.results[0].type.shape) === 1 && !storedInside(loop, op);
    if (!entry && (!OPS[op.op].pure || op.op === "dot" || op.op === "reduce")) return false;
    if (!op.args.every(visit)) return false;
    needed.add(op);
    return true;
  };
  return load.args.every(visit) ? body.ops.filter((op) => needed.has(op)) : undefined;
}
