/**
 * Products of tiles. Large ones use simdgroup matrices: each simdgroup owns part of the result as 8x8 fragments in registers; operands come from
 * registers where they lie there as fragments already (a product that feeds another), else from threadgroup memory, where they were put by
 * whole vectors, in rows padded against bank conflicts. Small ones are multiply-add loops over operands in threadgroup memory.
 */
import type { DType, Op, Value } from "../../ir/types.ts";
import { elements } from "../../ir/types.ts";
import { bare, mslType, operand } from "./expressions.ts";
import { speaker } from "./convert.ts";
import type { Emitter, Reg, Stored } from "./emitter.ts";
import { linear, sum } from "./emitter.ts";
import type { Layout } from "./layout.ts";
import { coveredSize, layoutKey, log2Up, numberOf, ownLayout, axisOf, registers, vectorOf } from "./layout.ts";
import type { Scratch } from "./text.ts";

const BYTES: Partial<Record<DType, number>> = { f16: 2, bf16: 2, f32: 4 };

/** An operand in threadgroup memory: rows of the tile as it is written in the kernel. */
export interface Staged {
  memory: Scratch;
  /** Elements from one row to the next. */
  row: number;
  /** Pointer to the copy of this turn. */
  pointer: string;
}

export function dot(e: Emitter, op: Op): void {
  const [v] = op.results;
  const acc = op.args[2];
  if (e.a.kind(v) === "unit" || e.own) return e.own && e.a.kind(v) !== "unit" ? dotOwn(e, op) : dotUnit(e, op);
  const product = e.layouts.products.get(op);
  const layout = product ?? e.layouts.of(v);
  const staged = [0, 1].map((i) => (e.layouts.directOperand(op, op.args[i]) ? undefined : stage(e, op, i, product !== undefined)));
  const out = e.declare(v, layout, "acc");
  startFrom(e, acc, out);
  e.comment(op.loc);
  const effects = staged.flatMap((s) => (s ? [{ memory: s.memory, kind: "read" as const }] : []));
  e.emit(effects, () => (product ? matrices(e, op, out, staged) : multiplyAdd(e, op, out, staged as Staged[])));
}

/** Puts what a product adds to into its registers, unless it is there already. */
function startFrom(e: Emitter, acc: Value, out: Stored): void {
  const have = e.a.kind(acc) === "unit" ? undefined : e.storedOf(acc).find((s) => s.name === out.name);
  if (have) return;
  e.emit([], () => e.each(out.count, 1, (r) => e.line(`${e.element(out, out.layout, r)} = ${e.get(acc, out.layout, r)};`)));
}

/** Rows are padded by 16 bytes, so that rows of one column do not fall into one bank. */
const rowLength = (cols: number, d: DType): number => Math.ceil(cols / 8) * 8 + 16 / BYTES[d]!;

/**
 * Stages an operand that is used in deeper loops than it is made in right where it is made, once. Called when `v` has its registers.
 */
export function stageAhead(e: Emitter, v: Value): void {
  if (e.own) return;
  for (const op of e.a.usersOf(v)) {
    const i = op.op === "dot" ? op.args.slice(0, 2).indexOf(v) : -1;
    if (i < 0 || e.a.loops(op.results[0]).length <= e.loops.length || e.layouts.directOperand(op, v)) continue;
    const zeros = e.layouts.products.has(op);
    if (!e.staged.has(`${v.id} ${zeros}`)) e.staged.set(`${v.id} ${zeros}`, stage(e, op, i, zeros));
  }
}

function stage(e: Emitter, op: Op, i: number, zeros: boolean): Staged {
  const v = op.args[i];
  const ahead = e.staged.get(`${v.id} ${zeros}`);
  if (ahead) return ahead;
  const [rows, cols] = v.type.shape;
  const { dtype } = v.type;
  const row = rowLength(cols, dtype);
  // Fragments cover whole multiples of eight of what a simdgroup owns.
  const paddedRows = zeros ? Math.max(8, 2 ** log2Up(rows)) : rows;
  const paddedCols = zeros ? Math.max(8, 2 ** log2Up(cols)) : cols;
  const stride = Math.max(row, paddedCols);
  const loop = e.options.rotate ? e.loops.at(-1) : undefined;
  const same = loop !== undefined && e.a.loops(v).at(-1) === loop.number;
  const memory = e.scratch(`${v.name ?? "ab"[i]}_tile`, dtype, paddedRows * stride, same ? loop!.number : undefined);
  if (same) loop!.rotates = true;
  const pointer = same ? e.names.make(`${memory.name}_now`) : memory.name;
  if (same) e.line(`threadgroup ${memory.type} *const ${pointer} = ${memory.name} + ${loop!.stage} * ${memory.count};`);
  writeTile(e, v, memory, pointer, stride, zeros ? [paddedRows, paddedCols] : [rows, cols]);
  return { memory, row: stride, pointer };
}

/** Stores a tile row by row, whole vectors at a time, and zeros where fragments reach beyond it. */
function writeTile(e: Emitter, v: Value, memory: Scratch, pointer: string, row: number, padded: readonly number[]): void {
  const { shape, dtype } = v.type;
  const unit = e.a.kind(v) === "unit";
  const l = unit ? undefined : e.layouts.sourceLayout(v);
  const T = mslType(dtype);
  e.emit([{ memory, kind: "write" }], () => {
    if (l) {
      let n = Math.min(4, vectorOf(l, 1), shape[1] & -shape[1]);
      const array = e.storedOf(v).find((s) => layoutKey(s.layout) === layoutKey(l));
      if (!array && e.a.kind(v) !== "view" && e.a.kind(v) !== "symbolic") n = 1;
      const body = (): void =>
        e.each(registers(l), n, (r) => {
          const at = linear([e.coordinate(l, 0, r), e.coordinate(l, 1, r)], shape, [row, 1]);
          const inside = e.inside(l, shape, r);
          const text =
            n === 1
              ? `${pointer}[${bare(at)}] = ${e.get(v, l, r)};`
              : `*(threadgroup ${T}${n} *)(${pointer} + ${operand(at, "+", false)}) = ${T}${n}(${Array.from({ length: n }, (_, j) => e.get(v, l, plus(r, j))).join(", ")});`;
          e.line(inside ? `if (${inside}) ${text}` : text);
        });
      const who = speaker(e, l);
      if (who) e.nested(`if (${who})`, body);
      else body();
    } else e.line(`if (${e.builtin("thread")} == 0) ${pointer}[0] = ${e.unit(v)};`);
    const [rows, cols] = padded;
    if (rows > shape[0] || cols > shape[1]) {
      const i = e.names.make("i");
      e.nested(`for (int ${i} = ${e.builtin("thread")}; ${i} < ${rows * cols}; ${i} += ${32 * e.groupCount})`, () =>
        e.line(
          `if (${i} / ${cols} >= ${shape[0]} || ${i} % ${cols} >= ${shape[1]}) ${pointer}[${i} / ${cols} * ${row} + ${i} % ${cols}] = ${T}(0.0f);`,
        ),
      );
    }
  });
}

/** The j-th register after one whose low bits are zero. */
const plus = (r: Reg, j: number): Reg => (typeof r === "number" ? r + j : j ? `(${r} + ${j})` : r);

/** The rows and columns of fragments that a simdgroup has: registers of the result beyond the pair. */
function fragmentCounts(l: Layout): { rows: number; cols: number } {
  const count = (axis: number): number => 2 ** l.regs.slice(1).filter((b) => axisOf(b) === axis).length;
  return { rows: count(0), cols: count(1) };
}

function matrices(e: Emitter, op: Op, out: Stored, staged: readonly (Staged | undefined)[]): void {
  const [a] = op.args;
  const l = out.layout;
  const { rows, cols } = fragmentCounts(l);
  const inner = a.type.shape[op.attrs.transposeA ? 0 : 1];
  const T = mslType(a.type.dtype);
  const mma = e.helper(`mma_${T}`);
  const padded = staged.every((s) => s) ? Math.ceil(inner / 8) * 8 : inner;
  // Positions of a thread's pair in a fragment: as a row and column of the result.
  const row = e.coordinate({ ...l, regs: [] }, 0, 0);
  const col = e.coordinate({ ...l, regs: [] }, 1, 0);
  // ... and along the inner axis, where simdgroups do not differ.
  const frag = { lanes: l.lanes, groups: [], regs: [] };
  const kRow = e.coordinate(frag, 0, 0);
  const kCol = e.coordinate(frag, 1, 0);
  const step = (k: Reg): void => {
    e.line(`${T}2 fa[${rows}];`);
    e.line(`${T}2 fb[${cols}];`);
    e.each(
      rows,
      1,
      (i) => e.line(`fa[${i}] = ${fragment(e, op, 0, staged[0], sum([row, times(i, 8)]), sum([k, kCol].map(String)), i, k)};`),
      "i",
    );
    e.each(
      cols,
      1,
      (j) => e.line(`fb[${j}] = ${fragment(e, op, 1, staged[1], sum([String(k), kRow]), sum([col, times(j, 8)]), j, k)};`),
      "j",
    );
    e.each(
      rows,
      1,
      (i) =>
        e.each(cols, 1, (j) => e.line(`${mma}(${out.name} + ${bareSum([times(i, 2 * cols), times(j, 2)])}, fa[${i}], fb[${j}]);`), "j"),
      "i",
    );
  };
  // A product of one step has a block of its own too: its fragments are not the only ones of their names.
  if (padded <= 8) e.nested("", () => step(0));
  else e.each(padded, 8, step, "k8");
}

const times = (n: Reg, by: number): string => (typeof n === "number" ? String(n * by) : `${n} * ${by}`);
const bareSum = (parts: readonly string[]): string => bare(sum(parts));

/** The pair of operand i at (row, col) of the product's own orientation; the pair lies along the columns. */
function fragment(e: Emitter, op: Op, i: number, s: Staged | undefined, row: string, col: string, part: Reg, k: Reg): string {
  const v = op.args[i];
  const T = mslType(v.type.dtype);
  if (!s) return directPair(e, op, i, part, k);
  const transposed = op.attrs[i === 0 ? "transposeA" : "transposeB"];
  if (!transposed) return `*(threadgroup const ${T}2 *)(${s.pointer} + ${operand(linear([row, col], [2, 2], [s.row, 1]), "+", false)})`;
  const at = linear([col, row], [2, 2], [s.row, 1]);
  return `${T}2(${s.pointer}[${bare(at)}], ${s.pointer}[${bare(sum([at, String(s.row)]))}])`;
}

/** A fragment from the operand's own registers. */
function directPair(e: Emitter, op: Op, i: number, part: Reg, k: Reg): string {
  const v = op.args[i];
  const l = e.layouts.directOperand(op, v)!;
  // Registers of the fragment layout: pair, then fragments along the columns, then along the rows.
  const cols = 2 ** l.regs.slice(1).filter((b) => axisOf(b) === 1).length;
  const [fragRow, fragCol] = i === 0 ? [part, k] : [k, part];
  const byEight = (n: Reg): Reg => (typeof n === "number" ? n / 8 : `(${n} / 8)`);
  const text = bareSum([times(i === 0 ? fragRow : byEight(fragRow), 2 * cols), times(i === 0 ? byEight(fragCol) : fragCol, 2)]);
  const r = /^\d+$/.test(text) ? Number(text) : `(${text})`;
  return `${mslType(v.type.dtype)}2(${e.get(v, l, r)}, ${e.get(v, l, typeof r === "number" ? r + 1 : `(${r} + 1)`)})`;
}

/** acc += a·b, one multiplication at a time, operands read from threadgroup memory. */
function multiplyAdd(e: Emitter, op: Op, out: Stored, staged: readonly Staged[]): void {
  const [a] = op.args;
  const inner = a.type.shape[op.attrs.transposeA ? 0 : 1];
  const { shape } = op.results[0].type;
  const limit = (axis: number, r: Reg): string => {
    const c = e.coordinate(out.layout, axis, r);
    return coveredSize(out.layout, axis) > shape[axis] ? `min(${c}, ${shape[axis] - 1})` : c;
  };
  e.each(
    inner,
    1,
    (k) =>
      e.each(out.count, 1, (r) => {
        const x = read(staged[0], op.attrs.transposeA ? [String(k), limit(0, r)] : [limit(0, r), String(k)]);
        const y = read(staged[1], op.attrs.transposeB ? [limit(1, r), String(k)] : [String(k), limit(1, r)]);
        const to = e.element(out, out.layout, r);
        e.line(`${to} = fma(float(${x}), float(${y}), ${to});`);
      }),
    "k",
  );
}

const read = (s: Staged, position: string[]): string => `${s.pointer}[${bare(linear(position, [2, 2], [s.row, 1]))}]`;

/** A product of one thread's own tiles. */
function dotOwn(e: Emitter, op: Op): void {
  const [v] = op.results;
  const [a, b, acc] = op.args;
  const out = e.declare(v, e.layouts.of(v), "acc");
  startFrom(e, acc, out);
  const [m, n] = v.type.shape;
  e.emit([], () => {
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        const to = e.element(out, out.layout, position(out.layout, [i, j]));
        for (const [x, y] of pairs(e, op, a, b, i, j)) e.line(`${to} = fma(float(${x}), float(${y}), ${to});`);
      }
    }
  });
}

/** Result of one element. Operands are tiles of one row and column, perhaps of one element themselves. */
function dotUnit(e: Emitter, op: Op): void {
  const [v] = op.results;
  const [a, b, acc] = op.args;
  const name = e.nameOf(v, "acc");
  e.comment(op.loc);
  if (e.own || (e.a.kind(a) === "unit" && e.a.kind(b) === "unit")) {
    e.emit([], () => {
      e.line(`float ${name} = ${e.unit(acc)};`);
      for (const [x, y] of pairs(e, op, a, b, 0, 0)) e.line(`${name} = fma(float(${x}), float(${y}), ${name});`);
    });
    return e.setUnit(v, name);
  }
  const staged = [0, 1].map((i) => stage(e, op, i, false));
  e.emit(
    staged.map((s) => ({ memory: s.memory, kind: "read" as const })),
    () => {
      e.line(`float ${name} = ${e.unit(acc)};`);
      const inner = elements(a.type.shape);
      e.each(
        inner,
        1,
        (k) => {
          const x = read(staged[0], op.attrs.transposeA ? [String(k), "0"] : ["0", String(k)]);
          const y = read(staged[1], op.attrs.transposeB ? ["0", String(k)] : [String(k), "0"]);
          e.line(`${name} = fma(float(${x}), float(${y}), ${name});`);
        },
        "k",
      );
    },
  );
  e.setUnit(v, name);
}

function pairs(e: Emitter, op: Op, a: Value, b: Value, i: number, j: number): [string, string][] {
  const inner = a.type.shape[op.attrs.transposeA ? 0 : 1];
  const at = (v: Value, p: number[]): string => {
    if (e.a.kind(v) === "unit") return e.unit(v);
    const l = ownLayout(v.type.shape);
    return e.get(v, l, position(l, p));
  };
  return Array.from({ length: inner }, (_, k) => [
    at(a, op.attrs.transposeA ? [k, i] : [i, k]),
    at(b, op.attrs.transposeB ? [j, k] : [k, j]),
  ]);
}

const position = (l: Layout, p: readonly number[]): number => l.regs.reduce((r, b, i) => r + (((p[axisOf(b)] >> numberOf(b)) & 1) << i), 0);
