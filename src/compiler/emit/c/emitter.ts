/** State shared by the parts of the C emitter: where values live, how one vector of a value is read, and the text so far. */
import { sourceText } from "../../ir/source.ts";
import type { Block, DType, KernelIR, Loc, Op, Value } from "../../ir/types.ts";
import { DTYPE_BYTES, elements } from "../../ir/types.ts";
import { AlloyError } from "../../../support/errors.ts";
import type { Isa } from "../../../runtime/cpu/isa.ts";
import type { Analysis } from "./analysis.ts";
import type { ShortSum } from "./dot-bytes.ts";
import type { Chunk, Ix, Lin, Opaque, Rep } from "./values.ts";
import { addLin, chunksOf, cName, effOf, isConstLin, isZero, ixLin, key, lin, linText, mulLin, storedType, vectorType } from "./values.ts";

/** Bytes of local arrays a kernel may use; the pool's threads have 8 MiB stacks, a JavaScript thread less. */
const STACK_LIMIT = 768 * 1024;

export class Emitter {
  private readonly lines: string[] = [];
  private depth = 1;
  private temps = 0;
  private stack = 0;
  private lastComment = "";
  private readonly taken = new Set<string>();
  private readonly reps: (Rep | undefined)[] = [];
  /** While a loop over a large tile is being written: the locals that hold the current vector of its values. */
  local: Map<Value, string> | undefined;
  /** While one part of a loop over independent columns is being written (columns.ts): which columns of tiles with `of` of them. */
  window: { of: number; from: number; to: number } | undefined;
  /** Declarations that are written when their name is first used: see `defineLate`. Undefined where there must be none. */
  private late: Map<string, string> | undefined;
  /** Results of dots that are still sums in 16 bits (dot-bytes.ts); they have no other form. */
  readonly shortSums = new Map<Value, ShortSum>();
  /** Values that the loop around them yields, with the variable they become in the next turn. */
  readonly next = new Map<Value, { variable: Value; array: string; body: Block }>();

  constructor(
    readonly ir: KernelIR,
    readonly isa: Isa,
    readonly analysis: Analysis,
  ) {}

  get text(): string {
    return this.lines.join("\n");
  }

  line(text: string): void {
    this.lines.push("  ".repeat(this.depth) + text);
  }

  /** `head {`, what `f` writes, `}`. */
  scope(head: string, f: () => void, tail = "}"): void {
    this.line(`${head} {`);
    this.depth++;
    f();
    this.depth--;
    this.line(tail);
  }

  /** The user's source line as a comment, when it differs from the last one written. */
  comment(loc: Loc | undefined): void {
    const text = sourceText(this.ir.source, loc);
    if (!loc || text === "" || text === this.lastComment) return;
    this.lastComment = text;
    this.line(`// ${loc.line}: ${text.replace(/\\/g, "/")}`);
  }

  /** The name, with a number behind it if it was asked for before: one value may be needed in several forms. */
  unique(name: string): string {
    if (this.taken.has(name)) return this.temp(`${name}_`);
    this.taken.add(name);
    return name;
  }

  temp(prefix = "t"): string {
    return `${prefix}${this.temps++}`;
  }

  /** Declares a constant local and returns its name. */
  constant(type: string, expr: string, name = this.temp()): string {
    this.line(`const ${type} ${name} = ${expr};`);
    return name;
  }

  /** A symbolic integer with its run-time part in a local, so that text does not grow. */
  named(l: Lin): Lin {
    return l.s && !/^\w+$/.test(l.s) ? lin(l.c, this.constant("int64_t", l.s)) : l;
  }

  /** Declares an aligned local array for `count` elements of the register form of `dtype`. */
  array(dtype: DType, count: number, name: string, loc?: Loc): string {
    this.reserve(count * (storedType(dtype) === "i32" ? 4 : DTYPE_BYTES[dtype]) + 64, loc);
    // A vector may be read past the last element of a row only inside the padding.
    this.line(`${storedType(dtype)}x1 ${name}[${Math.max(count, 1)}]${this.aligned};`);
    return name;
  }

  /** Attribute of arrays that vectors are read from. */
  get aligned(): string {
    return this.isa.width > 1 ? " __attribute__((aligned(64)))" : "";
  }

  /** Counts bytes of local memory; throws `kernel_error` when the kernel needs too many. */
  reserve(bytes: number, loc?: Loc): void {
    this.stack += bytes;
    if (this.stack > STACK_LIMIT) {
      const line = sourceText(this.ir.source, loc);
      throw new AlloyError(
        "kernel_error",
        `kernel ${this.ir.name}: its tiles need more than ${STACK_LIMIT >> 10} KiB of local memory on a CPU${line ? `\n  ${line}` : ""}`,
        {
          hint: this.ir.lanes
            ? "Use fewer threads, or less shared and local memory and smaller tiles in each."
            : "Use smaller tiles: loop over part of the tile instead.",
        },
      );
    }
  }

  rep(v: Value): Rep {
    const r = this.reps[v.id];
    if (!r) throw new AlloyError("internal", `kernel ${this.ir.name}: value %${v.id} is used before it is defined`);
    return r;
  }

  has(v: Value): boolean {
    return this.reps[v.id] !== undefined;
  }

  set(v: Value, rep: Rep): void {
    this.reps[v.id] = rep;
  }

  eff(v: Value): readonly number[] {
    if (this.local?.has(v)) return v.type.shape;
    return effOf(this.rep(v), v.type.shape);
  }

  chunks(v: Value, eff: readonly number[]): Chunk[] {
    return this.inWindow(eff, chunksOf(eff, this.analysis.scalarised(v) ? 1 : this.isa.width));
  }

  /** Of the vectors of a tile, those that the current window shows. */
  inWindow(eff: readonly number[], chunks: Chunk[]): Chunk[] {
    const { window } = this;
    if (!window || eff.at(-1) !== window.of) return chunks;
    return chunks.filter(({ idx }) => idx.at(-1)! >= window.from && idx.at(-1)! < window.to);
  }

  /** A scalar or uniform value's expression. */
  scalar(v: Value): string {
    return this.get(
      v,
      v.type.shape.map(() => 0),
      1,
    );
  }

  splat(dtype: DType, w: number, scalar: string): string {
    if (w === 1) return scalar;
    return `splat_${vectorType(dtype, w)}(${dtype === "bool" ? `-(${scalar})` : scalar})`;
  }

  /** `w` lanes of a value from position `idx`: a vector, or a scalar for w = 1. Lanes run along the last axis. */
  get(v: Value, idx: readonly Ix[], w: number): string {
    const here = this.local?.get(v);
    if (here !== undefined) return here;
    const { dtype, shape } = v.type;
    const rep = this.rep(v);
    switch (rep.kind) {
      case "uniform":
        return this.splat(dtype, w, rep.expr);
      case "view":
        return rep.get(idx, w);
      case "affine":
        return this.affineLanes(rep, dtype, idx, w);
      case "array":
        return this.arrayLanes(rep.name, rep.eff, dtype, idx, w);
      case "regs": {
        const at = idx.map((i, a) => (rep.eff[a] === 1 ? 0 : i));
        const last = shape.length - 1;
        const repeated = last >= 0 && rep.eff[last] === 1;
        if (at.some((i) => typeof i === "string")) return this.arrayLanes(rep.array!, rep.eff, dtype, at, w);
        if (repeated || last < 0) return this.splat(dtype, w, this.due(rep.names.get(key(at))!));
        return this.registerLanes(rep, dtype, at as number[], w);
      }
    }
  }

  private registerLanes(rep: Rep & { kind: "regs" }, dtype: DType, at: readonly number[], w: number): string {
    const last = at.length - 1;
    const exact = rep.names.get(key(at));
    const width = (idx: readonly number[]): number => rep.chunks.find((c) => key(c.idx) === key(idx))!.w;
    if (exact !== undefined && width(at) === w) return this.due(exact);
    const lane = (col: number): string => {
      const chunk = rep.chunks.find((c) => c.idx.every((n, a) => (a === last ? n <= col && col < n + c.w : n === at[a])))!;
      const name = rep.names.get(key(chunk.idx))!;
      if (chunk.w === 1) return dtype === "bool" && w > 1 ? `-(${this.due(name)})` : this.due(name);
      const element = `${name}[${col - chunk.idx[last]}]`;
      return dtype === "bool" && w === 1 ? `(${element} != 0)` : element;
    };
    if (w === 1) return lane(at[last]);
    return `(${vectorType(dtype, w)}){${Array.from({ length: w }, (_, i) => lane(at[last] + i)).join(", ")}}`;
  }

  private arrayLanes(name: string, eff: readonly number[], dtype: DType, idx: readonly Ix[], w: number): string {
    const at = linText(arrayIndex(eff, idx));
    if (w === 1) return dtype === "bool" ? `(${name}[${at}] != 0)` : `${name}[${at}]`;
    if (eff[eff.length - 1] === 1) return `splat_${vectorType(dtype, w)}(${name}[${at}])`;
    return `LD(${vectorType(dtype, w)}, ${name} + ${at})`;
  }

  /** Value of an affine tile at an index, as a 64-bit integer. */
  affineAt(rep: Rep & { kind: "affine" }, idx: readonly Ix[]): Lin {
    let sum = rep.base;
    rep.coef.forEach((c, a) => (sum = addLin(sum, mulLin(c, ixLin(idx[a])))));
    for (const o of rep.opaque) sum = addLin(sum, mulLin(o.scale, lin(0, o.at(idx))));
    return sum;
  }

  private affineLanes(rep: Rep & { kind: "affine" }, dtype: DType, idx: readonly Ix[], w: number): string {
    const first = linText(this.affineAt(rep, idx));
    const type = vectorType(dtype, w);
    const scalar = `(${storedType(dtype)}x1)${first}`;
    if (w === 1) return `(${scalar})`;
    const step = rep.coef[rep.coef.length - 1];
    if (isZero(step)) return `splat_${type}(${scalar})`;
    const iota = dtype === "i32" ? `IOTAx${w}` : `__builtin_convertvector(IOTAx${w}, ${type})`;
    const scaled = isConstLin(step) && step.c === 1 ? iota : `${iota} * splat_${type}((${storedType(dtype)}x1)${linText(step)})`;
    return `(splat_${type}(${scalar}) + ${scaled})`;
  }

  /** A value as a symbolic integer form, if it is one; data that does not vary along the last axis counts as opaque. */
  affine(v: Value, opaque = true): (Rep & { kind: "affine" }) | undefined {
    const { dtype, shape } = v.type;
    if ((dtype !== "i32" && dtype !== "i64") || this.local?.has(v)) return undefined;
    const rep = this.rep(v);
    const eff = effOf(rep, shape);
    const none = shape.map(() => lin(0));
    if (rep.kind === "affine") return rep;
    if (rep.kind === "uniform") {
      const base = rep.wide ?? lin(0, `(int64_t)${rep.expr}`);
      return { kind: "affine", base, coef: none, opaque: [], eff };
    }
    if (!opaque || shape.length === 0 || eff[shape.length - 1] !== 1) return undefined;
    const term: Opaque = { at: (idx) => `(int64_t)${this.get(v, idx, 1)}`, varies: eff.map((n) => n > 1), scale: lin(1) };
    return { kind: "affine", base: lin(0), coef: none, opaque: [term], eff };
  }

  /** Stores a freshly computed tile: calls `expr` for every vector and keeps the results in locals (and an array, if one is needed). */
  define(v: Value, eff: readonly number[], expr: (chunk: Chunk) => string, loc?: Loc): void {
    const base = cName(v);
    const { dtype, shape } = v.type;
    if (elements(eff) === 1) {
      const name = this.constant(`${storedType(dtype)}x1`, expr({ idx: shape.map(() => 0), w: 1 }), base);
      this.set(v, { kind: "uniform", expr: name });
      return;
    }
    const chunks = this.chunks(v, eff);
    const names = new Map<string, string>();
    for (const c of chunks) {
      const name = this.constant(vectorType(dtype, c.w), expr(c), `${base}_${c.idx.join("_")}`);
      names.set(key(c.idx), name);
    }
    this.set(v, { kind: "regs", eff, chunks, names, array: this.mirror(v, eff, chunks, names, loc) });
  }

  /** Writes a block. `able`: nothing is stored in it and it has no other blocks inside, so that loads may stand where they are used. */
  oneByOne(able: boolean, f: () => void): void {
    const outer = this.late;
    this.late = able ? new Map() : undefined;
    f();
    this.late = outer;
  }

  /** As `define`, for single elements of a column: each is declared where it is first used, so that a register holds one at a time. */
  defineLate(v: Value, eff: readonly number[], expr: (chunk: Chunk) => string): boolean {
    if (!this.late || this.analysis.needsArray(v)) return false;
    const chunks = chunksOf(eff, 1);
    const names = new Map<string, string>();
    for (const c of chunks) {
      const name = `${cName(v)}_${c.idx.join("_")}`;
      this.late.set(name, `const ${storedType(v.type.dtype)}x1 ${name} = ${expr(c)};`);
      names.set(key(c.idx), name);
    }
    this.set(v, { kind: "regs", eff, chunks, names });
    return true;
  }

  private due(name: string): string {
    const text = this.late?.get(name);
    if (text !== undefined) this.line(text);
    this.late?.delete(name);
    return name;
  }

  /** Copies a tile in locals to an array when somebody reads it at run-time positions. */
  mirror(v: Value, eff: readonly number[], chunks: readonly Chunk[], names: ReadonlyMap<string, string>, loc?: Loc): string | undefined {
    if (!this.analysis.needsArray(v)) return undefined;
    const name = this.array(v.type.dtype, elements(eff), `${cName(v)}_a`, loc);
    for (const c of chunks) this.storeArray(name, eff, v.type.dtype, c.idx, c.w, names.get(key(c.idx))!);
    return name;
  }

  storeArray(name: string, eff: readonly number[], dtype: DType, idx: readonly Ix[], w: number, value: string): void {
    const at = linText(arrayIndex(eff, idx));
    this.line(
      w === 1 ? `${name}[${at}] = ${dtype === "bool" ? `-(${value})` : value};` : `ST(${vectorType(dtype, w)}, ${name} + ${at}, ${value});`,
    );
  }
}

/** Position in a row-major array of shape `eff`. */
export function arrayIndex(eff: readonly number[], idx: readonly Ix[]): Lin {
  let at = lin(0);
  let stride = 1;
  for (let a = eff.length - 1; a >= 0; a--) {
    if (eff[a] > 1) at = addLin(at, mulLin(ixLin(idx[a]), lin(stride)));
    stride *= eff[a];
  }
  return at;
}

export type OpHandler = (e: Emitter, op: Op) => void;
