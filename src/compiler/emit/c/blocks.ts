/** Blocks and control flow: which form each op takes, and variables for what loops carry. */
import type { Block, Op, Value } from "../../ir/types.ts";
import { elements } from "../../ir/types.ts";
import type { Emitter } from "./emitter.ts";
import { Group, groupable } from "./group.ts";
import type { Lin, Rep } from "./values.ts";
import { cName, isZero, key, lin, linText, storedType, vectorType } from "./values.ts";
import { ELEMENTWISE, literal, scalarOp, smallElementwise, symbolic, unsupported } from "./elementwise.ts";
import { prefetch, smallLoad, smallStore } from "./memory.ts";
import { loopReduce, loops, smallReduce } from "./reduce.ts";
import { broadcast, cat, extract, reshape, slice, transpose } from "./views.ts";
import { dot } from "./dot.ts";
import { dot4 } from "./dot-bytes.ts";
import { atomic } from "./atomics.ts";
import { scan } from "./scan.ts";
import { columnsOf } from "./columns.ts";
import { simdMma, simdShuffle } from "./simd.ts";

const VIEWS: Record<string, (e: Emitter, op: Op) => void> = { broadcast, reshape, transpose, slice, cat };

/** Writes a block's ops; returns the operands of its yield. */
export function emitBlock(e: Emitter, block: Block): Value[] {
  const group = new Group(e);
  for (const op of block.ops) {
    if (op.op === "yield") {
      group.flush();
      return op.args;
    }
    emitOp(e, op, group);
  }
  group.flush();
  return [];
}

function emitOp(e: Emitter, op: Op, group: Group): void {
  if (group.pending(op) && !(groupable(op) && isLarge(e, op))) group.flush();
  if (ELEMENTWISE.has(op.op) && !op.args.some((a) => !e.has(a))) {
    const rep = symbolic(e, op);
    if (rep) return e.set(op.results[0], rep);
  }
  if (groupable(op) && isLarge(e, op)) {
    return group.add(op);
  }
  if (op.op === "store" || op.op === "atomic" || op.regions.length || (op.op === "load" && group.delays(op))) group.flush();
  e.comment(op.loc);
  const view = VIEWS[op.op];
  if (view) return view(e, op);
  if (ELEMENTWISE.has(op.op)) {
    if (op.results[0].type.shape.length === 0) return scalarOp(e, op, cName(op.results[0], op.op));
    return op.op === "dot4" ? dot4(e, op) : smallElementwise(e, op);
  }
  const rule = RULES[op.op] ?? unsupported;
  rule(e, op);
}

/** Does the op work on a tile that lives in an array? Values that do not vary over most of it are small, whatever their shape. */
function isLarge(e: Emitter, op: Op): boolean {
  const operands = op.op === "store" || op.op === "reduce" ? [op.args[0]] : op.results;
  const { shape } = operands[0].type;
  if (!e.analysis.large(shape)) return false;
  if (op.op === "store") return true;
  const eff = shape.map((_, i) => Math.max(...op.args.map((a) => (e.has(a) ? e.eff(a)[i] : shape[i])), 1));
  return e.analysis.large(eff);
}

const RULES: Record<string, (e: Emitter, op: Op) => void> = {
  const: (e, op) => {
    const { dtype } = op.results[0].type;
    const value = op.attrs.value as number | bigint | boolean;
    const wide = dtype === "i32" || dtype === "i64" ? lin(Number(value)) : undefined;
    e.set(op.results[0], { kind: "uniform", expr: literal(dtype, value), wide: wide && Number.isSafeInteger(wide.c) ? wide : undefined });
  },
  programId: (e, op) => e.set(op.results[0], { kind: "uniform", expr: `pid${op.attrs.axis as number}` }),
  numPrograms: (e, op) => e.set(op.results[0], { kind: "uniform", expr: `(int32_t)grid[${op.attrs.axis as number}]` }),
  arange: (e, op) => {
    const n = op.attrs.n as number;
    e.set(op.results[0], { kind: "affine", base: lin(op.attrs.start as number), coef: [lin(1)], opaque: [], eff: [n] });
  },
  load: smallLoad,
  store: smallStore,
  prefetch,
  extract,
  reduce: (e, op) => (e.analysis.large(e.eff(op.args[0])) ? loopReduce(e, op) : smallReduce(e, op)),
  dot,
  atomic,
  scan,
  simdShuffle,
  simdMma,
  for: forLoop,
  while: whileLoop,
  if: branch,
};

/** A variable that a loop or branch assigns: how it is declared, read and set. */
interface Variable {
  rep: Rep;
  /** Text of every C name it owns. */
  names: string[];
  /** New contents, one expression per name; for arrays writes directly. */
  assign: (v: Value) => { name: string; type: string; expr: string }[];
}

/** Declares storage for a value that control flow assigns. `like` lets an integer tile stay symbolic: its form when it only moves. */
function variable(e: Emitter, v: Value, base: string, like?: Rep & { kind: "affine" }): Variable {
  const { dtype, shape } = v.type;
  if (like) {
    e.line(`int64_t ${base};`);
    return {
      rep: { ...like, base: lin(0, base) },
      names: [base],
      assign: (x) => [{ name: base, type: "int64_t", expr: linText(moved(e, x, like)) }],
    };
  }
  if (elements(shape) === 1) {
    const type = `${storedType(dtype)}x1`;
    e.line(`${type} ${base};`);
    return { rep: { kind: "uniform", expr: base }, names: [base], assign: (x) => [{ name: base, type, expr: e.scalar(x) }] };
  }
  if (e.analysis.large(shape)) {
    const name = e.array(dtype, elements(shape), `${base}_a`);
    const assign = (x: Value): [] => {
      const rep = e.rep(x);
      if (rep.kind === "array" && rep.name === name) return [];
      loops(e, shape, e.isa.width, (idx, w) => e.storeArray(name, shape, dtype, idx, w, e.get(x, idx, w)));
      return [];
    };
    return { rep: { kind: "array", eff: shape, name }, names: [name], assign };
  }
  const chunks = e.chunks(v, shape);
  const names = new Map<string, string>();
  for (const c of chunks) {
    const name = `${base}_${c.idx.join("_")}`;
    e.line(`${vectorType(dtype, c.w)} ${name};`);
    names.set(key(c.idx), name);
  }
  const array = e.analysis.needsArray(v) ? e.array(dtype, elements(shape), `${base}_a`) : undefined;
  return {
    rep: { kind: "regs", eff: shape, chunks, names, array },
    names: [...names.values()],
    assign: (x) =>
      e.inWindow(shape, chunks).map((c) => ({ name: names.get(key(c.idx))!, type: vectorType(dtype, c.w), expr: e.get(x, c.idx, c.w) })),
  };
}

/** Where a moving tile's first element is: its base, and what was added to it as data. */
function moved(e: Emitter, x: Value, like: Rep & { kind: "affine" }): Lin {
  const form = e.affine(x)!;
  const added = form.opaque.filter((o) => !like.opaque.includes(o));
  return e.affineAt(
    { ...form, opaque: added },
    x.type.shape.map(() => 0),
  );
}

/** Assigns all variables at once: values that read another variable of the set go through temporaries. */
function assignAll(e: Emitter, variables: readonly Variable[], values: readonly Value[]): void {
  const owned = new Set(variables.flatMap((v) => v.names));
  // An array that is read by another assignment is copied first; permuted arrays are rare enough for that.
  const copies = variables.map((v, i) => {
    const rep = e.rep(values[i]);
    return v.rep.kind === "array" && rep.kind === "array" && rep.name !== v.rep.name && owned.has(rep.name)
      ? copyArray(e, values[i], rep)
      : undefined;
  });
  const moves = variables.flatMap((v, i) => {
    if (!copies[i]) return v.assign(values[i]);
    const before = e.rep(values[i]);
    e.set(values[i], copies[i]!);
    const out = v.assign(values[i]);
    e.set(values[i], before);
    return out;
  });
  const needed = moves.filter((m) => m.expr !== m.name);
  const reads = (m: { name: string; expr: string }): boolean =>
    [...m.expr.matchAll(/[A-Za-z_]\w*/g)].some(([id]) => id !== m.name && owned.has(id));
  const staged = needed.map((m) => (reads(m) ? { ...m, expr: e.constant(m.type, m.expr) } : m));
  for (const m of staged) e.line(`${m.name} = ${m.expr};`);
  for (const v of variables) {
    if (v.rep.kind !== "regs" || !v.rep.array) continue;
    const { rep } = v;
    for (const c of rep.chunks) {
      const dtype = dtypeOf(v, variables, values);
      e.storeArray(rep.array!, rep.eff, dtype, c.idx, c.w, rep.names.get(key(c.idx))!);
    }
  }
}

const dtypeOf = (v: Variable, variables: readonly Variable[], values: readonly Value[]) => values[variables.indexOf(v)].type.dtype;

function copyArray(e: Emitter, v: Value, rep: Rep & { kind: "array" }): Rep {
  const name = e.array(v.type.dtype, elements(rep.eff), e.temp("copy"));
  loops(e, rep.eff, e.isa.width, (idx, w) => e.storeArray(name, rep.eff, v.type.dtype, idx, w, e.get(v, idx, w)));
  return { kind: "array", eff: rep.eff, name };
}

/** The symbolic form of a carried integer tile whose only change per turn is a uniform addition. */
function movingForm(e: Emitter, init: Value, arg: Value, next: Value): (Rep & { kind: "affine" }) | undefined {
  const { dtype, shape } = arg.type;
  if ((dtype !== "i32" && dtype !== "i64") || elements(shape) === 1) return undefined;
  const rep = e.rep(init);
  if (rep.kind !== "affine" || rep.coef.every(isZero)) return undefined;
  const uniform = (v: Value): boolean => {
    const op = e.analysis.definition(v);
    if (!op) return v.type.shape.length === 0;
    return op.op === "const" || v.type.shape.length === 0 || (op.op === "broadcast" && uniform(op.args[0]));
  };
  const moves = (v: Value): boolean => {
    if (v === arg) return true;
    const op = e.analysis.definition(v);
    if (op?.op === "add") return (moves(op.args[0]) && uniform(op.args[1])) || (uniform(op.args[0]) && moves(op.args[1]));
    return op?.op === "sub" && moves(op.args[0]) && uniform(op.args[1]);
  };
  return moves(next) ? rep : undefined;
}

const yields = (b: Block): Value[] => b.ops[b.ops.length - 1]?.args ?? [];

function forLoop(e: Emitter, op: Op): void {
  const [lower, upper, step, ...inits] = op.args;
  const [body] = op.regions;
  const [iv, ...carried] = body.args;
  const next = yields(body);
  const variables = carried.map((a, i) => variable(e, a, cName(a, "carried"), movingForm(e, inits[i], a, next[i])));
  const { parts, independent } = columnsOf(e, op);
  const type = `${storedType(iv.type.dtype)}x1`;
  const name = cName(iv, "i");
  const end = e.constant(type, e.scalar(upper), e.temp("end"));
  const by = e.scalar(step);
  for (const part of parts) {
    e.window = part;
    assignAll(e, variables, inits);
    updateInPlace(e, body, carried, variables, next);
    e.scope(`for (${type} ${name} = ${e.scalar(lower)}; ${name} ${op.attrs.down ? ">" : "<"} ${end}; ${name} += ${by})`, () => {
      e.set(iv, { kind: "uniform", expr: name });
      carried.forEach((a, i) => e.set(a, variables[i].rep));
      e.oneByOne(independent, () => assignAll(e, variables, emitBlock(e, body)));
    });
    e.window = undefined;
  }
  op.results.forEach((r, i) => e.set(r, variables[i].rep));
}

/** In lockstep form the turn's last loop over the threads writes new values where the old ones were, instead of beside them. */
function updateInPlace(e: Emitter, body: Block, carried: readonly Value[], variables: readonly Variable[], next: readonly Value[]): void {
  if (e.ir.lanes === undefined) return;
  carried.forEach((a, i) => {
    const { rep } = variables[i];
    if (rep.kind === "array" && next.filter((v) => v === next[i]).length === 1) e.next.set(next[i], { variable: a, array: rep.name, body });
  });
}

function whileLoop(e: Emitter, op: Op): void {
  const [condition, body] = op.regions;
  const variables = op.results.map((r, i) => variable(e, r, cName(condition.args[i] ?? r, "carried")));
  assignAll(e, variables, op.args);
  e.scope("for (;;)", () => {
    condition.args.forEach((a, i) => e.set(a, variables[i].rep));
    const [go, ...next] = emitBlock(e, condition);
    const test = e.constant("int32_t", e.scalar(go));
    assignAll(e, variables, next);
    e.line(`if (!${test}) break;`);
    body.args.forEach((a, i) => e.set(a, variables[i].rep));
    updateInPlace(e, body, body.args, variables, yields(body));
    assignAll(e, variables, emitBlock(e, body));
  });
  op.results.forEach((r, i) => e.set(r, variables[i].rep));
}

function branch(e: Emitter, op: Op): void {
  const variables = op.results.map((r) => variable(e, r, cName(r, "r")));
  const [then, otherwise] = op.regions;
  e.scope(`if (${e.scalar(op.args[0])})`, () => assignAll(e, variables, emitBlock(e, then)));
  if (otherwise.ops.some((o) => o.op !== "yield") || op.results.length)
    e.scope("else", () => assignAll(e, variables, emitBlock(e, otherwise)));
  op.results.forEach((r, i) => e.set(r, variables[i].rep));
}
