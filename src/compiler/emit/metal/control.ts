/** for, while and if: structured as written, with variables for what loops carry and branches yield. */
import type { Block, Op, Value } from "../../ir/types.ts";
import { bare, mslType } from "./expressions.ts";
import { ensureLayouts } from "./convert.ts";
import type { Emitter, Stored } from "./emitter.ts";
import { layoutKey } from "./layout.ts";
import { emitBlock } from "./ops.ts";
import type { Node } from "./text.ts";

/** A variable that control flow assigns: one element, or registers of a tile. */
interface Variable {
  of: Value;
  name: string;
  stored?: Stored;
}

const yields = (b: Block): Value[] => b.ops.at(-1)?.args ?? [];

/** The variable for result `r` of a loop or branch; `init`'s own registers where the old contents are of no more use. */
function variable(e: Emitter, r: Value, init: Value | undefined, name: string | undefined): Variable {
  if (e.a.kind(r) === "unit") {
    const text = e.names.make(name ?? "carried");
    e.before(`${mslType(r.type.dtype)} ${text};`);
    return { of: r, name: text };
  }
  const layout = e.layouts.of(r);
  const target = e.targets.get(r);
  if (target && init && e.storedOf(init).some((s) => s.name === target.name) && layoutKey(target.layout) === layoutKey(layout)) {
    return { of: r, name: target.name, stored: target };
  }
  const taken = init && ownRegisters(e, init, layoutKey(layout));
  if (taken) return { of: r, name: taken.name, stored: taken };
  const holder: Value = { ...r, name: r.name ?? name };
  const stored = e.storage(holder, layout, "carried");
  return { of: r, name: stored.name, stored };
}

/** The registers of an initial value that nothing else reads, made in the same turn: the loop may change them. */
function ownRegisters(e: Emitter, init: Value, key: string): Stored | undefined {
  const here = e.loops.map((l) => l.number).join();
  if (e.a.kind(init) !== "regs" || e.a.usersOf(init).length !== 1 || e.a.loops(init).join() !== here) return undefined;
  return e.storedOf(init).find((s) => s.count > 1 && layoutKey(s.layout) === key);
}

function bind(e: Emitter, v: Value, to: Variable): void {
  if (to.stored) {
    e.forget(v);
    e.addStored(v, to.stored);
  } else e.setUnit(v, to.name);
}

/** Assigns all variables at once: what reads another variable of the set goes through a temporary. */
function assign(e: Emitter, variables: readonly Variable[], values: readonly Value[]): void {
  const owned = new Set(variables.map((v) => v.name));
  const text = (v: Variable, x: Value, r: number | string): string => (v.stored ? e.get(x, v.stored.layout, r) : e.unit(x));
  const late: (() => void)[] = [];
  variables.forEach((v, i) => {
    const x = values[i];
    const probe = text(v, x, v.stored && v.stored.count > 1 ? "r" : 0);
    const own = v.stored ? e.element(v.stored, v.stored.layout, v.stored.count > 1 ? "r" : 0) : v.name;
    if (probe === own) return;
    const reads = [...probe.matchAll(/[A-Za-z_]\w*/g)].map(([id]) => id).filter((id) => owned.has(id));
    // Its own old contents may be read in place, element by element; other variables' must be read before they change.
    const direct = reads.every((id) => id === v.name && occurrences(probe, v.name) === occurrences(probe, own));
    if (!v.stored) {
      if (direct) late.push(() => e.line(`${v.name} = ${bare(probe)};`));
      else {
        const t = e.names.make(`${v.name}_next`);
        e.line(`const ${mslType(v.of.type.dtype)} ${t} = ${bare(probe)};`);
        late.push(() => e.line(`${v.name} = ${t};`));
      }
      return;
    }
    const s = v.stored;
    if (direct) {
      late.push(() =>
        e.emit([], () => e.each(s.count, 1, (r) => e.line(`${e.element(s, s.layout, r)} = ${bare(e.get(x, s.layout, r))};`))),
      );
      return;
    }
    const t = e.storage({ ...v.of, name: `${v.name}_next` }, s.layout);
    e.emit([], () => e.each(s.count, 1, (r) => e.line(`${e.element(t, s.layout, r)} = ${bare(e.get(x, s.layout, r))};`)));
    late.push(() => e.emit([], () => e.each(s.count, 1, (r) => e.line(`${e.element(s, s.layout, r)} = ${e.element(t, s.layout, r)};`))));
  });
  for (const f of late) f();
}

const occurrences = (text: string, part: string): number => text.split(part).length - 1;

/**
 * Lets the value that a turn yields be computed into the loop's own variable, if nothing of the body reads the old contents after it is. An
 * accumulator then stays in its registers without copies.
 */
function retarget(e: Emitter, body: Block, args: readonly Value[], ends: readonly Value[], variables: readonly Variable[]): void {
  args.forEach((arg, i) => {
    const to = variables[i].stored;
    const end = ends[i];
    if (!to || to.count === 1 || end === arg || ends.indexOf(end) !== i || ends.includes(arg) || e.targets.has(end)) return;
    const at = body.ops.findIndex((op) => op.results.includes(end));
    if (at < 0 || e.a.kind(end) !== "regs" || layoutKey(e.layouts.of(end)) !== layoutKey(to.layout)) return;
    const op = body.ops[at];
    if (!["dot", "for", "load"].includes(op.op) && !ELEMENT.has(op.op)) return;
    if (lastUse(e, body, arg) > at) return;
    if (op.op === "for" && (op.args.indexOf(arg) < 3 || op.args[3 + op.results.indexOf(end)] !== arg || insideUse(e, op, arg))) return;
    if (op.op !== "for" && !readsPlainly(e, op, arg)) return;
    e.targets.set(end, to);
    retargetSum(e, body, op, arg, to);
  });
}

/** acc = dot(a, b, acc * s): what the product adds to is computed into the accumulator's registers too. */
function retargetSum(e: Emitter, body: Block, op: Op, arg: Value, to: Stored): void {
  const sum = op.op === "dot" ? op.args[2] : arg;
  if (sum === arg || e.a.kind(sum) !== "regs" || e.a.usersOf(sum).length > 1 || e.targets.has(sum)) return;
  const at = body.ops.findIndex((o) => o.results.includes(sum));
  if (at < 0 || !ELEMENT.has(body.ops[at].op) || lastUse(e, body, arg) > at || !readsPlainly(e, body.ops[at], arg)) return;
  e.targets.set(sum, to);
}

const ELEMENT = new Set(
  "neg abs exp exp2 log log2 sin cos tanh sqrt rsqrt floor ceil round trunc erf not add sub mul div rem min max and or xor shl shr pow fma select cast bitcast dot4 dot2 dotPairs byteSign byteLookup pack4".split(
    " ",
  ),
);

/** Position in `body` of the last op that reads `v`, itself or through views and expressions that are computed at their use. */
function lastUse(e: Emitter, body: Block, v: Value): number {
  const readers = new Set<Op>();
  const follow = (x: Value): void => {
    for (const op of e.a.usersOf(x)) {
      if (readers.has(op)) continue;
      readers.add(op);
      for (const r of op.results) if (e.a.kind(r) === "view" || e.a.kind(r) === "symbolic") follow(r);
    }
  };
  follow(v);
  let last = -1;
  body.ops.forEach((op, i) => {
    if (holds(op, readers)) last = i;
  });
  return last;
}

const holds = (op: Op, set: ReadonlySet<Op>): boolean => set.has(op) || op.regions.some((r) => r.ops.some((o) => holds(o, set)));

const insideUse = (e: Emitter, op: Op, v: Value): boolean => op.regions.some((r) => lastUse(e, r, v) >= 0);

/** True if `op` reads `v` directly, never through a view whose registers lie elsewhere. */
function readsPlainly(e: Emitter, op: Op, v: Value): boolean {
  const through = (x: Value): boolean => {
    if (x === v) return true;
    const d = e.a.def(x);
    return (e.a.kind(x) === "view" || e.a.kind(x) === "symbolic") && d !== undefined && d.args.some(through);
  };
  return op.args.every((x) => x === v || !through(x)) && (op.op !== "dot" || op.args.slice(0, 2).every((x) => !through(x)));
}

export function forLoop(e: Emitter, op: Op): void {
  const [lower, upper, step, ...inits] = op.args;
  const [body] = op.regions;
  const [iv, ...carried] = body.args;
  const ends = yields(body);
  const variables = op.results.map((r, i) => variable(e, r, inits[i], carried[i].name ?? r.name));
  assign(e, variables, inits);
  const type = mslType(iv.type.dtype);
  const name = e.nameOf(iv, "i");
  const limit = e.unit(upper);
  let end = limit;
  if (!/^[\w().]+$/.test(limit)) {
    end = e.names.make(`${name}_end`);
    e.line(`const ${type} ${end} = ${bare(limit)};`);
  }
  const by = e.unit(step);
  const nodes: Node[] = [];
  const number = e.a.loopNumber.get(op)!;
  const state = e.enterLoop(number);
  e.within(nodes, () => {
    e.setUnit(iv, name);
    carried.forEach((a, i) => bind(e, a, variables[i]));
    for (const a of carried) if (e.a.kind(a) === "regs") ensureLayouts(e, a);
    retarget(e, body, carried, ends, variables);
    assign(e, variables, emitBlock(e, body));
    if (state.rotates) e.line(`${state.stage} ^= 1;`);
  });
  e.leaveLoop();
  if (state.rotates) e.line(`int ${state.stage} = 0;`);
  const advance = by === "1" ? `++${name}` : `${name} += ${by}`;
  const start = `${type} ${name} = ${bare(e.unit(lower))}`;
  e.push({ kind: "loop", head: `for (${start}; ${name} ${op.attrs.down ? ">" : "<"} ${end}; ${advance})`, number, body: nodes });
  op.results.forEach((r, i) => bind(e, r, variables[i]));
}

export function whileLoop(e: Emitter, op: Op): void {
  const [condition, body] = op.regions;
  const variables = op.results.map((r, i) => variable(e, r, op.args[i], condition.args[i].name ?? body.args[i].name ?? r.name));
  assign(e, variables, op.args);
  const nodes: Node[] = [];
  const number = e.a.loopNumber.get(op)!;
  const state = e.enterLoop(number);
  e.within(nodes, () => {
    condition.args.forEach((a, i) => bind(e, a, variables[i]));
    for (const a of condition.args) if (e.a.kind(a) === "regs") ensureLayouts(e, a);
    const [go, ...next] = emitBlock(e, condition);
    let test = e.unit(go);
    if (next.some((x, i) => x !== condition.args[i]) && !/^\w+$/.test(test)) {
      const kept = e.names.make("go");
      e.line(`const bool ${kept} = ${bare(test)};`);
      test = kept;
    }
    assign(e, variables, next);
    e.push({ kind: "break", text: `if (!${/^[\w]+$/.test(test) || test.startsWith("(") ? test : `(${test})`}) break;` });
    body.args.forEach((a, i) => bind(e, a, variables[i]));
    for (const a of body.args) if (e.a.kind(a) === "regs") ensureLayouts(e, a);
    assign(e, variables, emitBlock(e, body));
    if (state.rotates) e.line(`${state.stage} ^= 1;`);
  });
  e.leaveLoop();
  if (state.rotates) e.line(`int ${state.stage} = 0;`);
  e.push({ kind: "loop", head: "while (true)", number, body: nodes });
  op.results.forEach((r, i) => bind(e, r, variables[i]));
}

export function branch(e: Emitter, op: Op): void {
  const [then, otherwise] = op.regions;
  const variables = op.results.map((r) => variable(e, r, undefined, r.name));
  const sides = [then, otherwise].map((b) => {
    const nodes: Node[] = [];
    e.within(nodes, () => assign(e, variables, emitBlock(e, b)));
    return nodes;
  });
  const test = bare(e.unit(op.args[0]));
  if (sides[0].length || sides[1].length) {
    const [head, first, second] = sides[0].length ? [`if (${test})`, sides[0], sides[1]] : [`if (!(${test}))`, sides[1], []];
    e.push({ kind: "branch", head, taken: first, otherwise: second });
  }
  op.results.forEach((r, i) => bind(e, r, variables[i]));
}
