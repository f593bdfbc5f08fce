/** Blocks: which form each op takes. Elementwise ops on tiles of one layout that follow each other share one loop over registers. */
import type { Block, Op, Value } from "../../ir/types.ts";
import { OPS } from "../../ir/ops.ts";
import { bare, mslType } from "./expressions.ts";
import { branch, forLoop, whileLoop } from "./control.ts";
import { ensureLayouts, extractElement, moveView } from "./convert.ts";
import { dot, stageAhead } from "./dot.ts";
import type { Emitter } from "./emitter.ts";
import type { Layout } from "./layout.ts";
import { layoutKey, registers } from "./layout.ts";
import { atomic, load, store } from "./memory.ts";
import { reduce } from "./reduce.ts";
import { scan } from "./scan.ts";
import { simdOp } from "./simd.ts";

/** Longest expression that is written where it is used. */
const INLINE_LENGTH = 60;

/** Elementwise ops that wait to be written as one loop over the registers of their layout. */
export class Group {
  private layout: Layout | undefined;
  private readonly ops: Op[] = [];
  private readonly members = new Set<Value>();

  constructor(private readonly e: Emitter) {}

  add(op: Op, layout: Layout): void {
    if (this.layout && layoutKey(this.layout) !== layoutKey(layout)) this.flush();
    // A member is read as it is; through a view it must have been written before. What is about to be overwritten must have been read.
    if (op.args.some((x) => !this.members.has(x) && this.reads(x)) || this.e.targets.has(op.results[0])) this.flush();
    this.layout = layout;
    this.ops.push(op);
    this.members.add(op.results[0]);
  }

  /** Does anything of `v` come from a member of the group? */
  reads(v: Value): boolean {
    if (this.members.has(v)) return true;
    // Symbolic values come from scalars alone.
    return this.e.a.kind(v) === "view" && this.e.a.def(v)!.args.some((x) => this.reads(x));
  }

  flush(): void {
    const { e, layout } = this;
    const ops = this.ops.splice(0);
    const members = new Set(this.members);
    this.members.clear();
    this.layout = undefined;
    if (!layout || !ops.length) return;
    const count = registers(layout);
    const used = new Set(ops);
    // Values that nothing outside reads live inside of the loop.
    const leaves = (v: Value): boolean => e.a.usersOf(v).some((u) => !used.has(u)) || e.layouts.more(v).length > 0 || e.targets.has(v);
    const stored = new Map(
      ops
        .filter((op) => leaves(op.results[0]) && (count > 1 || e.targets.has(op.results[0])))
        .map((op) => [op.results[0], e.declare(op.results[0], layout)]),
    );
    e.emit([], () => {
      e.local = new Map();
      e.each(count, 1, (r) => {
        for (const op of ops) {
          const v = op.results[0];
          const text = e.apply(
            op,
            op.args.map((x) => e.get(x, layout, r)),
          );
          const to = stored.get(v);
          const uses = e.a.usersOf(v).length;
          if (!to && !leaves(v) && v.name === undefined && uses === 1 && text.length < INLINE_LENGTH) e.local!.set(v, text);
          else {
            e.comment(op.loc);
            const target = to && e.element(to, layout, r);
            if (target) e.line(`${target} = ${bare(text)};`);
            const name = target ?? e.nameOf(v);
            if (!target) e.line(`const ${mslType(v.type.dtype)} ${name} = ${bare(text)};`);
            // Written text stays as it was read: a variable may change later in a turn only through a target, which ends the group.
            e.local!.set(v, name);
            if (!target && leaves(v)) e.addStored(v, { layout, name, count: 1 });
          }
        }
      });
      e.local = undefined;
    });
    for (const v of members) {
      if (!leaves(v)) continue;
      ensureLayouts(e, v);
      stageAhead(e, v);
    }
  }
}

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
  const result = op.results[0];
  const kind = result && e.a.kind(result);
  if (kind === "symbolic") {
    // Written where it is used; a dear one is kept, once per layout.
    const layouts = e.layouts.more(result);
    if (e.a.dear(result) && layouts.length) {
      group.flush();
      for (const l of layouts) keep(e, op, l);
    }
    return;
  }
  if (kind === "view") return;
  if (kind === "regs" && OPS[op.op].elementwise) return group.add(op, e.layouts.of(result));
  if (kind === "unit" && (OPS[op.op].elementwise || VIEWS.has(op.op) || op.op === "const")) {
    if (op.args.some((x) => group.reads(x))) group.flush();
    return unitOp(e, op);
  }
  group.flush();
  e.comment(op.loc);
  const rule = RULES[op.op];
  if (rule) rule(e, op);
  else if (OPS[op.op].level || op.op === "simdBarrier") simdOp(e, op);
  else throw e.error(`the Metal target has no rule for op ${op.op}`, op, "Report this as a bug of Alloy.");
  for (const v of op.results) {
    if (e.a.kind(v) !== "regs") continue;
    ensureLayouts(e, v);
    stageAhead(e, v);
  }
}

/** Computes a symbolic value into registers. */
function keep(e: Emitter, op: Op, layout: Layout): void {
  const v = op.results[0];
  const s = e.storage(v, layout);
  e.comment(op.loc);
  e.emit([], () =>
    e.each(s.count, 1, (r) => {
      const text = e.apply(
        op,
        op.args.map((x) => e.get(x, layout, r)),
      );
      e.line(`${e.element(s, layout, r)} = ${bare(text)};`);
    }),
  );
  e.addStored(v, s);
}

const VIEWS = new Set(["broadcast", "reshape", "transpose", "slice", "extract", "cat"]);

/** One element, the same for all threads. */
function unitOp(e: Emitter, op: Op): void {
  const v = op.results[0];
  if (op.op === "const") return;
  if (VIEWS.has(op.op)) {
    const [x] = op.args;
    if (e.a.kind(x) === "unit") return e.setUnit(v, e.unit(x));
    if (e.a.kind(x) === "symbolic")
      return e.setUnit(
        v,
        e.at(
          v,
          v.type.shape.map(() => "0"),
        ),
      );
    return extractElement(e, op);
  }
  const text = e.apply(
    op,
    op.args.map((x) => e.unit(x)),
  );
  const once = e.a.usersOf(v).length === 1 && v.name === undefined;
  if (once && text.length < INLINE_LENGTH) return e.setUnit(v, text);
  if (!e.a.usersOf(v).length) return;
  e.comment(op.loc);
  const name = e.nameOf(v);
  e.line(`const ${mslType(v.type.dtype)} ${name} = ${bare(text)};`);
  e.setUnit(v, name);
}

const RULES: Readonly<Record<string, (e: Emitter, op: Op) => void>> = {
  programId: (e, op) => {
    e.builtins.add(e.options.perThread ? "grid" : "group");
    e.setUnit(op.results[0], `int(${e.options.perThread ? "grid" : "group"}_id.${"xyz"[op.attrs.axis as number]})`);
  },
  numPrograms: (e, op) => e.setUnit(op.results[0], `int(args[${op.attrs.axis as number}])`),
  arange: (e, op) => e.setUnit(op.results[0], String(op.attrs.start as number)),
  load,
  store,
  atomic,
  prefetch: () => {},
  reduce,
  scan,
  dot,
  cat: moveView,
  reshape: moveView,
  transpose: moveView,
  slice: moveView,
  broadcast: moveView,
  for: forLoop,
  while: whileLoop,
  if: branch,
};
