/**
 * Which layout every tile that lives in registers gets. Values that elementwise ops, memory ops, loops and branches tie together form a class
 * with one layout, so that only views, reductions and products can ask for another one; what they ask for is listed per value as conversions.
 */
import type { Block, KernelIR, Op, Value } from "../../ir/types.ts";
import { elements } from "../../ir/types.ts";
import { OPS } from "../../ir/ops.ts";
import type { Analysis } from "./analysis.ts";
import type { Layout, Threads } from "./layout.ts";
import {
  blocked,
  compact,
  dropAxis,
  fragments,
  inverseView,
  layoutKey,
  log2Up,
  ownLayout,
  rowMajor,
  satisfies,
  splitProduct,
  viewLayout,
} from "./layout.ts";

export class Layouts {
  private readonly parent = new Map<Value, Value>();
  private readonly byClass = new Map<Value, Layout>();
  private readonly wanted = new Map<Value, Layout[]>();
  /** Products that use 8x8 matrices, with the layout of their result. */
  readonly products = new Map<Op, Layout>();

  constructor(
    private readonly ir: KernelIR,
    private readonly a: Analysis,
    readonly threads: Threads,
    private readonly own: boolean,
  ) {
    this.each(ir.body, (op) => this.connect(op));
    if (!own) this.each(ir.body, (op) => this.planProduct(op));
    this.choose();
    this.each(ir.body, (op) => this.demands(op));
  }

  /** Layout of a value in registers. */
  of(v: Value): Layout {
    return this.byClass.get(this.find(v)) ?? this.fallback(v);
  }

  /** Further layouts that a value is needed in: conversions of a value in registers, computed copies of a dear symbolic one. */
  more(v: Value): readonly Layout[] {
    return this.wanted.get(v) ?? [];
  }

  private each(block: Block, f: (op: Op) => void): void {
    for (const op of block.ops) {
      f(op);
      for (const r of op.regions) this.each(r, f);
    }
  }

  private find(v: Value): Value {
    let p = this.parent.get(v) ?? v;
    while (p !== (this.parent.get(p) ?? p)) p = this.parent.get(p)!;
    this.parent.set(v, p);
    return p;
  }

  private join(values: readonly Value[]): void {
    const tiles = values.filter((v) => this.a.kind(v) === "regs");
    for (const v of tiles.slice(1)) this.parent.set(this.find(v), this.find(tiles[0]));
  }

  private connect(op: Op): void {
    const info = OPS[op.op];
    if (info.elementwise || op.op === "load" || op.op === "store" || op.op === "atomic" || op.op === "scan" || info.level === "simd") {
      this.join([...op.results, ...op.args].filter((v) => elements(v.type.shape) === elements((op.results[0] ?? op.args[0]).type.shape)));
    }
    if (op.op === "dot") this.join([op.results[0], op.args[2]]);
    if (op.op === "for") this.carry(op.results, op.args.slice(3), op.regions[0].args.slice(1), ends(op.regions[0]));
    if (op.op === "while") {
      const [condition, body] = op.regions;
      this.carry(op.results, op.args, condition.args, ends(condition).slice(1), body.args, ends(body));
    }
    if (op.op === "if") this.carry(op.results, ends(op.regions[0]), ends(op.regions[1]));
  }

  private carry(...lists: readonly (readonly Value[])[]): void {
    lists[0].forEach((_, i) => this.join(lists.map((l) => l[i])));
  }

  private planProduct(op: Op): void {
    if (op.op !== "dot") return;
    const [m, n] = op.results[0].type.shape;
    const k = op.args[0].type.shape[op.attrs.transposeA ? 0 : 1];
    if (m * n * k < 1024 || (m < 4 && n < 4)) return;
    const groups = splitProduct(m, n, this.threads.groupBits, this.feedsProduct(op));
    this.products.set(op, fragments([m, n], 0, 1, groups));
  }

  /** Does the result of a product become an operand of another through elementwise work, or the other way round? Then both split by rows. */
  private feedsProduct(op: Op): boolean {
    const dots: Op[] = [];
    this.each(this.ir.body, (o) => {
      if (o.op === "dot") dots.push(o);
    });
    return dots.some(
      (d) =>
        this.find(d.args[0]) === this.find(op.results[0]) ||
        dots.some((e) => d === op && this.find(op.args[0]) === this.find(e.results[0])),
    );
  }

  /** One layout for every class: products first, then large classes before small ones, each after what its neighbours suggest. */
  private choose(): void {
    this.noteSources();
    const classes = new Map<Value, Op[]>();
    const note = (v: Value, op: Op): void => {
      if (this.a.kind(v) !== "regs") return;
      const root = this.find(v);
      const list = classes.get(root);
      if (list) list.push(op);
      else classes.set(root, [op]);
    };
    this.each(this.ir.body, (op) => {
      for (const v of [...op.args, ...op.results]) note(v, op);
    });
    for (const op of this.products.keys()) this.byClass.set(this.find(op.results[0]), this.products.get(op)!);
    const order = [...classes].sort(([v], [w]) => elements(w.type.shape) - elements(v.type.shape));
    for (const [root, ops] of order) {
      if (this.byClass.has(root)) continue;
      this.byClass.set(root, this.own ? ownLayout(root.type.shape) : (this.derived(root) ?? this.anchored(root, ops)));
    }
  }

  /** Reductions into a class and views of it, by class. */
  private readonly sources = new Map<Value, { reductions: Op[]; views: Op[] }>();

  private noteSources(): void {
    const of = (v: Value): { reductions: Op[]; views: Op[] } => {
      const root = this.find(v);
      let s = this.sources.get(root);
      if (!s) this.sources.set(root, (s = { reductions: [], views: [] }));
      return s;
    };
    this.each(this.ir.body, (op) => {
      const [result] = op.results;
      if (op.op === "reduce") of(result).reductions.push(op);
      if (!result || this.a.kind(result) !== "view") return;
      let [v] = op.args;
      while (this.a.kind(v) === "view") [v] = this.a.def(v)!.args;
      of(v).views.push(op);
    });
  }

  /** The layout that a class takes over from a larger tile that it is spread over or comes from. */
  private derived(root: Value): Layout | undefined {
    const from = this.sources.get(root);
    for (const op of from?.reductions ?? []) {
      const source = this.layoutIfKnown(op.args[0]);
      if (source) return dropAxis(source, op.attrs.axis as number);
    }
    for (const op of from?.views ?? []) {
      // A chain of views down to a value of this class, read by someone whose layout is known.
      let layout = this.layoutOfReader(op.results[0]);
      let v = op.results[0];
      while (layout && this.a.kind(v) === "view") {
        const inner = this.a.def(v)!;
        layout = viewLayout(inner, layout);
        v = inner.args[0];
      }
      if (layout && !layout.fixed?.length) return this.complete(v, compact(layout));
    }
    return undefined;
  }

  /** Adds bits that a view leaves out to the registers, so that every element has a place. */
  private complete(v: Value, l: Layout): Layout {
    const full = ownLayout(v.type.shape).regs;
    const have = new Set([...l.regs, ...l.lanes, ...l.groups]);
    return { ...l, regs: [...l.regs, ...full.filter((b) => !have.has(b))], fixed: undefined };
  }

  private layoutIfKnown(v: Value): Layout | undefined {
    return this.a.kind(v) === "regs" ? this.byClass.get(this.find(v)) : undefined;
  }

  private layoutOfReader(v: Value): Layout | undefined {
    for (const op of this.a.usersOf(v)) {
      const info = OPS[op.op];
      if (info.elementwise || info.memory) {
        for (const other of [...op.results, ...op.args]) {
          const l = elements(other.type.shape) === elements(v.type.shape) ? this.layoutIfKnown(other) : undefined;
          if (l) return l;
        }
      }
    }
    return undefined;
  }

  /** Layout for the memory operations of a class: the axis along which the largest access is contiguous comes first, in vectors. */
  private anchored(root: Value, ops: readonly Op[]): Layout {
    const { shape } = root.type;
    const perThread = elements(shape.map((n) => 2 ** log2Up(n))) >> (this.threads.laneBits + this.threads.groupBits);
    for (const op of ops) {
      if ((op.op !== "load" && op.op !== "store") || elements(op.args[0].type.shape) === 1) continue;
      if (op.args[0].type.shape.length !== shape.length || op.args[0].type.shape.some((n, i) => n !== shape[i])) continue;
      const axis = this.a.stepsOf(op.args[0]).findIndex((s, i) => s === 1 && shape[i] > 1);
      if (axis < 0) continue;
      const order = [axis, ...rowMajor(shape).filter((x) => x !== axis)];
      const vector = Math.max(1, Math.min(4, perThread, lowestPower(shape[axis])));
      return blocked(shape, order, vector, this.threads);
    }
    return this.fallback(root, perThread);
  }

  private fallback(v: Value, perThread = 1): Layout {
    const { shape } = v.type;
    if (this.own) return ownLayout(shape);
    const vector = shape.length ? Math.max(1, Math.min(4, perThread, lowestPower(shape.at(-1)!))) : 1;
    return blocked(shape, rowMajor(shape), vector, this.threads);
  }

  // What is needed in which layout.

  private demands(op: Op): void {
    const info = OPS[op.op];
    const result = op.results[0];
    switch (op.op) {
      case "for":
        return this.demandCarried(op, op.args.slice(3), ends(op.regions[0]));
      case "while":
        return this.demandCarried(op, op.args, ends(op.regions[0]).slice(1), ends(op.regions[1]));
      case "if":
        return this.demandCarried(op, ...op.regions.map(ends));
      case "yield":
        return;
      case "reduce":
        return this.demand(op.args[0], this.sourceLayout(op.args[0]));
      case "scan":
        return this.demand(op.args[0], this.scanLayout(op));
      case "dot":
        return this.demandProduct(op);
    }
    if (VIEW_OPS.has(op.op)) {
      // A view that cannot be read in place, or one element: moved through threadgroup memory from where the operand is.
      if (this.a.kind(result) !== "symbolic" && this.a.kind(result) !== "view")
        for (const v of op.args) this.demand(v, this.sourceLayout(v));
      return;
    }
    if (result && this.a.kind(result) === "symbolic") return;
    if (op.args.length && (info.elementwise || info.memory || info.level)) {
      const layout = this.workLayout(op);
      for (const v of op.args) this.demand(v, layout);
    }
  }

  private demandCarried(op: Op, ...lists: readonly (readonly Value[])[]): void {
    op.results.forEach((r, i) => {
      if (this.a.kind(r) === "regs") for (const list of lists) this.demand(list[i], this.of(r));
    });
  }

  private demandProduct(op: Op): void {
    const [a, b, acc] = op.args;
    this.demand(acc, this.of(op.results[0]));
    for (const v of [a, b]) if (!this.own && !this.directOperand(op, v)) this.demand(v, this.sourceLayout(v));
    if (this.own) for (const v of [a, b]) this.demand(v, ownLayout(v.type.shape));
  }

  /** The fragments that a product reads from an operand's own registers, where these are there already. */
  directOperand(op: Op, v: Value): Layout | undefined {
    const product = this.products.get(op);
    if (!product || this.a.kind(v) !== "regs") return undefined;
    const left = v === op.args[0];
    if (op.attrs[left ? "transposeA" : "transposeB"] || op.args[0] === op.args[1]) return undefined;
    const [k, along] = left ? [v.type.shape[1], 0] : [v.type.shape[0], 1];
    if (k % 8 !== 0) return undefined;
    const layout = fragments(
      v.type.shape,
      0,
      1,
      product.groups.map((b) => (b !== -1 && b >> 5 === along ? b : -1)),
    );
    return satisfies(this.of(v), layout) ? layout : undefined;
  }

  /** Layout in which an elementwise or memory op works: that of the tile in registers among its operands and results. */
  workLayout(op: Op): Layout {
    const tile = [...op.results, ...op.args].find((v) => this.a.kind(v) === "regs");
    if (tile) return this.of(tile);
    const shape = op.args[0]?.type.shape ?? op.results[0].type.shape;
    if (this.own) return ownLayout(shape);
    return OPS[op.op].memory && shape.length ? this.anchored(op.args[0], [op]) : this.fallback(op.args[0]);
  }

  /** A layout in which a value can be had without moving it: its own, or that of what it is a view of. */
  sourceLayout(v: Value): Layout {
    if (this.own) return ownLayout(v.type.shape);
    const kind = this.a.kind(v);
    if (kind === "regs") return this.of(v);
    const op = this.a.def(v);
    if (kind === "view") {
      const inverse = inverseView(op!, this.sourceLayout(op!.args[0]));
      if (inverse) return inverse;
    }
    return this.layoutOfReader(v) ?? this.of(v);
  }

  /** Layout of a scan: the axis runs through the registers first, then lanes, then simdgroups. */
  scanLayout(op: Op): Layout {
    const { shape } = op.args[0].type;
    if (this.own) return ownLayout(shape);
    const axis = op.attrs.axis as number;
    const inThread = Math.max(0, log2Up(shape[axis]) - this.threads.laneBits - this.threads.groupBits);
    return blocked(shape, [axis, ...rowMajor(shape).filter((x) => x !== axis)], 2 ** inThread, this.threads);
  }

  /** Records that `v` is read in layout `l`. */
  demand(v: Value, l: Layout): void {
    const kind = this.a.kind(v);
    if (kind === "unit") return;
    const op = this.a.def(v);
    if (kind === "view") return this.demand(op!.args[0], viewLayout(op!, l)!);
    if (kind === "symbolic") {
      if (this.a.dear(v) && !l.fixed?.length) this.want(v, compact(l));
      for (const x of op!.args) {
        const inner = VIEW_OPS.has(op!.op) ? viewLayout(op!, l) : l;
        if (inner) this.demand(x, inner);
      }
      return;
    }
    if (!satisfies(this.of(v), l)) this.want(v, this.complete(v, compact(l)));
  }

  private want(v: Value, l: Layout): void {
    const list = this.wanted.get(v);
    if (!list) this.wanted.set(v, [l]);
    else if (!list.some((x) => layoutKey(x) === layoutKey(l))) list.push(l);
  }
}

const VIEW_OPS = new Set(["broadcast", "reshape", "transpose", "slice", "extract", "cat"]);

const ends = (b: Block): Value[] => b.ops.at(-1)?.args ?? [];

/** Largest power of two that divides n. */
const lowestPower = (n: number): number => n & -n;
