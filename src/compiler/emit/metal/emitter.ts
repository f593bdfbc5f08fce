/** State shared by the parts of the Metal emitter: where values live, how one element of a value is read, and the text so far. */
import { sourceText } from "../../ir/source.ts";
import type { DType, KernelIR, Loc, Op, Value } from "../../ir/types.ts";
import { elements } from "../../ir/types.ts";
import { AlloyError } from "../../../support/errors.ts";
import type { Analysis } from "./analysis.ts";
import type { Layouts } from "./assign.ts";
import type { Staged } from "./dot.ts";
import type { Needs } from "./expressions.ts";
import { bare, expression, literal, mslType, operand } from "./expressions.ts";
import type { Bit, Layout, Threads } from "./layout.ts";
import { bit, coveredSize, layoutKey, NONE, axisOf, registers, replicas, runs, runsText, satisfies, viewLayout } from "./layout.ts";
import { Names } from "./names.ts";
import type { Effect, Node, Scratch, Statement } from "./text.ts";

/** A register number: known, or an int variable of a loop. */
export type Reg = number | string;

/** A loop that is being written. */
export interface LoopState {
  number: number;
  /** Name of the variable that says which copy of rotating memory a turn uses. */
  stage: string;
  rotates: boolean;
}

/** A value in registers: an array of `count`, or a plain variable for one. */
export interface Stored {
  layout: Layout;
  name: string;
  count: number;
}

const VIEW_OPS = new Set(["broadcast", "reshape", "transpose", "slice", "extract"]);

export class Emitter implements Needs {
  readonly root: Node[] = [];
  private list: Node[] = this.root;
  private statement: Statement | undefined;
  private readonly units = new Map<Value, string>();
  private readonly stores = new Map<Value, Stored[]>();
  /** Named bases of index tiles and the like, by what they are; scoped as blocks are. */
  private scopes: Map<string, string>[] = [new Map()];
  /** Thread parts of positions, declared at the start of the kernel. */
  readonly threadParts = new Map<string, string>();
  /** Results of the register loop that is being written. */
  local: Map<Value, string> | undefined;
  /** Variables that results are to be written to: what a loop carries, when nothing reads the old contents any more. */
  readonly targets = new Map<Value, Stored>();
  readonly helpers = new Set<string>();
  readonly tables = new Map<string, readonly number[]>();
  /** Builtin arguments of the kernel function that the text uses. */
  readonly builtins = new Set<string>();
  readonly names: Names;
  private lastComment = "";

  constructor(
    readonly ir: KernelIR,
    readonly a: Analysis,
    readonly layouts: Layouts,
    readonly threads: Threads,
    /** Every thread has values of its own: thread-level kernels, and kernels without tiles. */
    readonly own: boolean,
    readonly options: { perThread: boolean; rotate: boolean; entry: string },
  ) {
    this.names = new Names(ir.params.map((p) => p.name));
  }

  // Text

  /** Runs `f`, whose lines become one statement with the given accesses. */
  emit(effects: Effect[], f: () => void): void {
    const outer = this.statement;
    const s: Statement = { kind: "statement", lines: [], effects };
    this.statement = s;
    f();
    this.statement = outer;
    if (s.lines.length) this.list.push(s);
  }

  /** A line of the statement that is being written, or a statement of its own. */
  line(text: string): void {
    if (this.statement) this.statement.lines.push(text);
    else this.list.push({ kind: "statement", lines: [text], effects: [] });
  }

  /** A declaration in front of the statement that is being written. */
  before(text: string): void {
    this.list.push({ kind: "statement", lines: [text], effects: [] });
  }

  /** Lines that `f` writes, indented under `head`. */
  nested(head: string, f: () => void, tail = "}"): void {
    const s = this.statement!;
    const at = s.lines.length;
    f();
    const body = s.lines.splice(at).map((l) => `  ${l}`);
    s.lines.push(`${head} {`.trimStart(), ...body, tail);
  }

  /** Low bits of loop variables that are always zero. */
  private readonly zeroBits = new Map<string, number>();

  /** Hardware bits as a loop variable has them: what is always zero tells nothing. */
  private variableBits(bits: readonly Bit[], reg: string): readonly Bit[] {
    const zeros = this.zeroBits.get(reg) ?? 0;
    return zeros ? bits.map((b, i) => (i < zeros ? NONE : b)) : bits;
  }

  /** Runs `f(r)` for every register number, `step` at a time: a loop that the compiler unrolls. */
  each(count: number, step: number, f: (r: Reg) => void, variable = "r"): void {
    if (count <= step) return f(0);
    const r = this.names.loop(variable);
    this.zeroBits.set(r, Math.log2(step));
    this.nested(`ALLOY_UNROLL_LOOP for (int ${r} = 0; ${r} < ${count}; ${step === 1 ? `++${r}` : `${r} += ${step}`})`, () => f(r));
    this.names.endLoop(r);
    this.helpers.add("unroll");
  }

  push(node: Node): void {
    this.list.push(node);
  }

  /** Runs `f` with statements going to `list`. */
  within(list: Node[], f: () => void): void {
    const outer = this.list;
    this.list = list;
    this.scopes.push(new Map());
    f();
    this.scopes.pop();
    this.list = outer;
  }

  /** The user's source line as a comment, when it differs from the last one written. */
  comment(loc: Loc | undefined): void {
    const text = sourceText(this.ir.source, loc);
    if (!loc || text === "" || text === this.lastComment) return;
    this.lastComment = text;
    this.line(`// ${loc.line}: ${text.replace(/\\/g, "/")}`);
  }

  error(message: string, op: Op | undefined, hint: string): AlloyError {
    const line = sourceText(this.ir.source, op?.loc);
    return new AlloyError("kernel_error", `kernel ${this.ir.name}: ${message}${line ? `\n  ${line}` : ""}`, { hint });
  }

  helper(name: string): string {
    this.helpers.add(name);
    return `alloy_${name}`;
  }

  table(bytes: readonly number[]): string {
    const name = `alloy_table_${bytes.map((n) => (n & 255).toString(16).padStart(2, "0")).join("")}`;
    this.tables.set(name, bytes);
    return name;
  }

  /** A builtin argument as an int: `lane`, `simdgroup`, `thread`. */
  builtin(name: "lane" | "simdgroup" | "thread"): string {
    this.builtins.add(name);
    return `int(${name}_id)`;
  }

  /** Operands of products that were put into threadgroup memory where they were made, by value and padding. */
  readonly staged = new Map<string, Staged>();
  /** Loops around the place that is being written, innermost last. */
  readonly loops: LoopState[] = [];

  enterLoop(number: number): LoopState {
    const state = { number, stage: this.names.make("turn"), rotates: false };
    this.loops.push(state);
    return state;
  }

  leaveLoop(): void {
    this.loops.pop();
  }

  get groupCount(): number {
    return 2 ** this.threads.groupBits;
  }

  // Values

  /** Name for a value: the user's where there is one. */
  nameOf(v: Value, fallback?: string): string {
    return this.names.make(v.name ?? fallback ?? this.a.def(v)?.op ?? "v");
  }

  setUnit(v: Value, text: string): void {
    this.units.set(v, text);
  }

  unit(v: Value): string {
    const known = this.units.get(v);
    if (known !== undefined) return known;
    const constant = this.a.def(v);
    if (constant?.op === "const") return literal(v.type.dtype, constant.attrs.value as number | bigint | boolean);
    throw new AlloyError("internal", `kernel ${this.ir.name}: value %${v.id} is used before it is defined`);
  }

  /** Declares registers for a value in a layout and notes them; the target that a loop gave it comes first. */
  declare(v: Value, layout: Layout, fallback?: string): Stored {
    const target = this.targets.get(v);
    if (target && layoutKey(target.layout) === layoutKey(layout)) {
      this.addStored(v, target);
      return target;
    }
    const stored = this.storage(v, layout, fallback);
    this.addStored(v, stored);
    return stored;
  }

  storage(v: Value, layout: Layout, fallback?: string): Stored {
    const stored = { layout, name: this.nameOf(v, fallback), count: registers(layout) };
    this.before(`${mslType(v.type.dtype)} ${stored.name}${stored.count > 1 ? `[${stored.count}]` : ""};`);
    return stored;
  }

  addStored(v: Value, s: Stored): void {
    const list = this.stores.get(v);
    if (list) list.push(s);
    else this.stores.set(v, [s]);
  }

  storedOf(v: Value): readonly Stored[] {
    return this.stores.get(v) ?? [];
  }

  forget(v: Value): void {
    this.stores.delete(v);
  }

  /** The element of `v` that a thread has in register `reg` of layout `l`. Conversions were made when the value was. */
  get(v: Value, l: Layout, reg: Reg): string {
    if (this.a.kind(v) === "unit") return this.unit(v);
    const local = this.local?.get(v);
    if (local !== undefined) return local;
    const stored = this.stores.get(v)?.find((s) => satisfies(s.layout, l));
    if (stored) return this.element(stored, l, reg);
    const op = this.a.def(v);
    if (!op || (this.a.kind(v) !== "symbolic" && this.a.kind(v) !== "view")) {
      throw new AlloyError(
        "internal",
        `kernel ${this.ir.name}: %${v.id} is not there in layout ${layoutKey(l)}, only in ${this.storedOf(v)
          .map((s) => layoutKey(s.layout))
          .join(" and ")}`,
      );
    }
    return this.named(v, op, l, reg) ?? this.compute(op, l, reg);
  }

  element(s: Stored, l: Layout, reg: Reg): string {
    if (s.count === 1) return s.name;
    return `${s.name}[${this.registerOf(s.layout, l, reg)}]`;
  }

  /** Number of the register of `stored` that holds what register `reg` of `wanted` stands for. */
  registerOf(stored: Layout, wanted: Layout, reg: Reg): string {
    let constant = 0;
    const moves: (number | undefined)[] = wanted.regs.map(() => undefined);
    stored.regs.forEach((b, j) => {
      const i = wanted.regs.indexOf(b);
      if (i >= 0) moves[i] = j;
      else if (wanted.fixed?.includes(b)) constant += 2 ** j;
    });
    if (typeof reg === "number") {
      moves.forEach((j, i) => {
        if (j !== undefined && (reg >> i) & 1) constant += 2 ** j;
      });
      return String(constant);
    }
    if (!constant && moves.every((j, i) => j === i)) return bare(reg);
    const bits = moves.map((j) => (j === undefined ? NONE : bit(0, j)));
    const text = runsText(runs(this.variableBits(bits, reg), 0), reg);
    return constant ? (text ? `${text} + ${constant}` : String(constant)) : text || "0";
  }

  private compute(op: Op, l: Layout, reg: Reg): string {
    switch (op.op) {
      case "const":
        return literal(op.results[0].type.dtype, op.attrs.value as number | bigint | boolean);
      case "arange":
        return sum([this.coordinate(l, 0, reg), String(op.attrs.start as number)]);
    }
    if (VIEW_OPS.has(op.op)) {
      const inner = viewLayout(op, l);
      if (inner) return this.get(op.args[0], inner, reg);
      return this.at(
        op.results[0],
        op.results[0].type.shape.map((_, axis) => this.coordinate(l, axis, reg)),
      );
    }
    return this.apply(
      op,
      op.args.map((x) => this.get(x, l, reg)),
    );
  }

  /** Elementwise op on operand texts. */
  apply(op: Op, args: readonly string[]): string {
    const wraps = op.results[0].type.dtype.startsWith("i") && !this.a.isIndex(op.results[0]);
    return expression(op, args, this, { wraps, constant: (i) => this.a.constant(op.args[i]) });
  }

  /** Element of a symbolic value at a position given by expressions. */
  at(v: Value, position: readonly string[]): string {
    if (this.a.kind(v) === "unit" && this.units.has(v)) return this.unit(v);
    const op = this.a.def(v)!;
    const { shape } = v.type;
    const from = op.args[0]?.type.shape;
    switch (op.op) {
      case "const":
        return literal(v.type.dtype, op.attrs.value as number | bigint | boolean);
      case "arange":
        return sum([position[0] ?? "0", String(op.attrs.start as number)]);
      case "broadcast":
        return this.at(
          op.args[0],
          from.map((n, i) => (n === 1 ? "0" : position[i + shape.length - from.length])),
        );
      case "transpose":
        return this.at(op.args[0], [position[1], position[0]]);
      case "slice":
        return this.at(
          op.args[0],
          position.map((p, i) => (i === op.attrs.axis ? sum([p, String(op.attrs.start as number)]) : p)),
        );
      case "extract":
        return this.at(op.args[0], (op.attrs.index as readonly number[]).map(String));
      case "reshape":
        return this.at(op.args[0], split(linear(position, shape), from));
      default:
        return this.apply(
          op,
          op.args.map((x) => this.at(x, position)),
        );
    }
  }

  /** The thread's own part of a position and the register's, on one axis. */
  private parts(l: Layout, axis: number, reg: Reg): { thread: string; reg: string; constant: number } {
    const lanes = runs(l.lanes, axis);
    const groups = runs(l.groups, axis);
    const text = [
      lanes.length ? runsText(lanes, this.builtin("lane")) : "",
      groups.length ? runsText(groups, this.builtin("simdgroup")) : "",
    ].filter(Boolean);
    let constant = (l.fixed ?? []).reduce((n, b) => n + (axisOf(b) === axis ? 2 ** (b & 31) : 0), 0);
    const regRuns = runs(l.regs, axis);
    if (typeof reg === "number") {
      for (const r of regRuns) constant += ((reg >> r.from) & (2 ** r.count - 1)) * 2 ** r.to;
    }
    const thread = text.length ? this.threadPart(text.join(" + "), axis) : "";
    return { thread, reg: typeof reg === "string" ? runsText(runs(this.variableBits(l.regs, reg), axis), reg) : "", constant };
  }

  private threadPart(text: string, axis: number): string {
    let name = this.threadParts.get(text);
    if (!name) this.threadParts.set(text, (name = this.names.make(`at${axis}`)));
    return name;
  }

  /** Position on an axis of what a thread has in register `reg` of layout `l`. */
  coordinate(l: Layout, axis: number, reg: Reg): string {
    const p = this.parts(l, axis, reg);
    return sum([p.thread, p.reg, String(p.constant)]);
  }

  /** Condition under which register `reg` of `l` stands for an element of `shape`; "" where it always does. */
  inside(l: Layout, shape: readonly number[], reg: Reg): string {
    return shape.flatMap((n, axis) => (coveredSize(l, axis) > n ? [`${this.coordinate(l, axis, reg)} < ${n}`] : [])).join(" && ");
  }

  /** A symbolic integer tile with a name of the user's: its value at register 0 as a variable, plus what the register adds. */
  private named(v: Value, op: Op, l: Layout, reg: Reg): string | undefined {
    const { dtype, shape } = v.type;
    if (
      this.a.kind(v) !== "symbolic" ||
      (dtype !== "i32" && dtype !== "i64") ||
      op.op === "const" ||
      !(v.name || this.a.usersOf(v).length > 1)
    )
      return undefined;
    const steps = this.a.stepsOf(v);
    if (steps.includes(undefined) || this.a.dear(v)) return undefined;
    if (VIEW_OPS.has(op.op) && !v.name) return undefined;
    const moved: string[] = [];
    const key: string[] = [String(v.id)];
    for (let axis = 0; axis < shape.length; axis++) {
      const step = steps[axis]!;
      if (step === 0) continue;
      const p = this.parts(l, axis, reg);
      key.push(`${axis}:${p.thread}`);
      const offset = sum([p.reg, String(p.constant)]);
      if (offset !== "0") moved.push(step === 1 ? offset : /^\d+$/.test(offset) ? String(Number(offset) * step) : `(${offset}) * ${step}`);
    }
    const id = key.join("|");
    let base = this.scopes.map((s) => s.get(id)).find((x) => x !== undefined);
    if (base === undefined) {
      const start: Layout = { ...l, fixed: undefined };
      const text = this.compute(op, start, 0);
      if (/^[\w.]+$/.test(text)) base = text;
      else {
        base = this.nameOf(v);
        this.before(`const ${mslType(dtype)} ${base} = ${bare(text)};`);
      }
      this.scopes.at(-1)!.set(id, base);
    }
    return sum([base, ...moved]);
  }

  /**
   * What a memory op does to its parameter. Where positions that differ have offsets that differ, each element belongs to the thread that its
   * layout says, and accesses in the same layout at the same offsets need no barrier between them.
   */
  effect(op: Op, kind: Effect["kind"], layout: Layout | undefined): Effect {
    const offset = op.args[0];
    const memory = op.attrs.param as number;
    const copies = layout && replicas(layout);
    const dtype = this.ir.distinct ? undefined : this.ir.params[memory].dtype;
    if (!copies || copies.lane || copies.group || !this.a.isAffine(offset)) return { memory, kind, dtype };
    const place = layoutKey(layout);
    return { memory, kind, dtype, place, key: `${place}@${offset.id}`, varies: this.a.loopsBehind(offset) };
  }

  scratch(name: string, dtype: DType, count: number, rotates?: number): Scratch {
    const type = dtype === "bool" ? "uchar" : mslType(dtype);
    const bytes = { bool: 1, i8: 1, u8: 1, i16: 2, u16: 2, f16: 2, bf16: 2, i32: 4, u32: 4, f32: 4, i64: 8, u64: 8, f64: 8 }[dtype];
    return { name: this.names.make(name), type, elementBytes: bytes, count, rotates };
  }
}

/** A sum as text; zeros are left out and numbers added up. */
export function sum(parts: readonly string[]): string {
  let constant = 0;
  const rest: string[] = [];
  for (const p of parts) {
    if (p === "") continue;
    if (/^\d+$/.test(p)) constant += Number(p);
    else rest.push(p);
  }
  if (constant || !rest.length) rest.push(String(constant));
  if (rest.length === 1) return rest[0].includes(" ") && bare(rest[0]) === rest[0] ? `(${rest[0]})` : rest[0];
  return `(${rest.map((p, i) => operand(p, "+", i === 0)).join(" + ")})`;
}

/** Row-major number of a position. */
export function linear(position: readonly string[], shape: readonly number[], strides: readonly number[] = rowStrides(shape)): string {
  return sum(
    position.map((p, i) =>
      shape[i] === 1 || p === "0"
        ? ""
        : strides[i] === 1
          ? p
          : /^\d+$/.test(p)
            ? String(Number(p) * strides[i])
            : `${operand(p, "*", true)} * ${strides[i]}`,
    ),
  );
}

export function rowStrides(shape: readonly number[]): number[] {
  const out = shape.map(() => 1);
  for (let i = shape.length - 2; i >= 0; i--) out[i] = out[i + 1] * shape[i + 1];
  return out;
}

function split(index: string, shape: readonly number[]): string[] {
  const strides = rowStrides(shape);
  return shape.map((n, i) => {
    if (n === 1) return "0";
    const q = strides[i] === 1 ? index : `(${index} / ${strides[i]})`;
    return i === 0 || elements(shape.slice(0, i)) === 1 ? q : `(${q} % ${n})`;
  });
}
