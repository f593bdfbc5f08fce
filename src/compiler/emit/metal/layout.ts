/**
 * Layouts: which thread and register hold which element of a tile. Every axis is padded to a power of two, so a position is a string of
 * bits; a layout says for each bit of the register number, of the lane (five) and of the simdgroup number which bit of which axis it is, or
 * that elements are repeated along it. (Triton's linear layouts, arXiv:2505.23819, restricted to permutations of bits.)
 */
import type { Op } from "../../ir/types.ts";
import { elements } from "../../ir/types.ts";

/** A bit of a position: axis · 32 + number of the bit; NONE: this hardware bit does not tell elements apart. */
export type Bit = number;
export const NONE: Bit = -1;
export const bit = (axis: number, n: number): Bit => axis * 32 + n;
export const axisOf = (b: Bit): number => b >> 5;
export const numberOf = (b: Bit): number => b & 31;

export interface Layout {
  readonly regs: readonly Bit[];
  readonly lanes: readonly Bit[];
  readonly groups: readonly Bit[];
  /** Bits of the position that are 1 everywhere (views of slices); all that is named nowhere is 0. */
  readonly fixed?: readonly Bit[];
}

/** How threads share the tiles of a program: `groups` bits of simdgroups, or one thread that holds whole tiles. */
export interface Threads {
  readonly laneBits: number;
  readonly groupBits: number;
}
export const ONE_THREAD: Threads = { laneBits: 0, groupBits: 0 };

export const log2Up = (n: number): number => Math.ceil(Math.log2(n));
export const registers = (l: Layout): number => 2 ** l.regs.length;
export const layoutKey = (l: Layout): string =>
  `${l.regs.join()}/${l.lanes.join()}/${l.groups.join()}${l.fixed?.length ? `/${l.fixed.join()}` : ""}`;

/** Bits of an axis of a shape, lowest first. */
const axisBits = (shape: readonly number[], axis: number): Bit[] => Array.from({ length: log2Up(shape[axis]) }, (_, n) => bit(axis, n));

/**
 * `vector` consecutive elements of the first axis of `order` in a thread, neighbouring vectors in neighbouring lanes, then simdgroups; what is
 * left repeats in registers.
 */
export function blocked(shape: readonly number[], order: readonly number[], vector: number, threads: Threads): Layout {
  const queue = order.flatMap((axis) => axisBits(shape, axis));
  const low = queue.splice(0, Math.min(log2Up(vector), order.length ? axisBits(shape, order[0]).length : 0));
  const take = (n: number): Bit[] => Array.from({ length: n }, () => queue.shift() ?? NONE);
  const lanes = take(threads.laneBits);
  const groups = take(threads.groupBits);
  return { regs: [...low, ...queue], lanes, groups };
}

/** Axes with the last first: neighbours of a row-major tile are neighbours in memory. */
export const rowMajor = (shape: readonly number[]): number[] => shape.map((_, i) => shape.length - 1 - i);

/** Which bits of rows and columns of a product's result lie in simdgroups. */
export interface Split {
  readonly groups: readonly Bit[];
}

const FRAGMENT_LANES = (row: number, col: number): Bit[] => [bit(col, 1), bit(row, 0), bit(row, 1), bit(col, 2), bit(row, 2)];

/**
 * 8x8 fragments: lane l holds row ((l >> 1) & 3) | ((l >> 4) & 1) << 2, columns ((l & 1) << 1) | ((l >> 3) & 1) << 2 and the next. Rows and
 * columns beyond 8 lie in the simdgroups that `groups` names, then in registers: pairs, then fragments along the columns, then along the rows.
 */
export function fragments(shape: readonly number[], row: number, col: number, groups: readonly Bit[]): Layout {
  const rest = [col, row].flatMap((axis) => {
    const n = Math.max(3, log2Up(shape[axis]));
    return Array.from({ length: n - 3 }, (_, i) => bit(axis, i + 3));
  });
  return { regs: [bit(col, 0), ...rest.filter((b) => !groups.includes(b))], lanes: FRAGMENT_LANES(row, col), groups };
}

/** Simdgroup bits of a product of m x n: nearly square parts, or rows only (a product that feeds another keeps whole rows in a simdgroup). */
export function splitProduct(m: number, n: number, groupBits: number, rowsOnly: boolean): Bit[] {
  let rows = Math.max(3, log2Up(m));
  let cols = Math.max(3, log2Up(n));
  const out: Bit[] = [];
  while (out.length < groupBits) {
    if (rows > 3 && (rows >= cols || rowsOnly)) out.push(bit(0, --rows));
    else if (cols > 3 && !rowsOnly) out.push(bit(1, --cols));
    else if (rows > 3) out.push(bit(0, --rows));
    else out.push(NONE);
  }
  return out;
}

/** The layout of the result without `axis` when a tile in layout `l` is reduced along it: those bits repeat. */
export function dropAxis(l: Layout, axis: number): Layout {
  const move = (b: Bit): Bit => (b === NONE || axisOf(b) === axis ? NONE : axisOf(b) > axis ? b - 32 : b);
  return { regs: l.regs.map(move).filter((b) => b !== NONE), lanes: l.lanes.map(move), groups: l.groups.map(move) };
}

export const mapBits = (l: Layout, f: (b: Bit) => Bit, fixed: readonly Bit[] = []): Layout => {
  const g = (b: Bit): Bit => (b === NONE ? NONE : f(b));
  return {
    regs: l.regs.map(g),
    lanes: l.lanes.map(g),
    groups: l.groups.map(g),
    fixed: [...(l.fixed ?? []).map(g).filter((b) => b !== NONE), ...fixed],
  };
};

/** Without register bits that repeat, so that it can hold a value. */
export const compact = (l: Layout): Layout => ({ regs: l.regs.filter((b) => b !== NONE), lanes: l.lanes, groups: l.groups });

/**
 * What a view's operand looks like when its result is read in layout `l`, or undefined when positions do not correspond bit by bit. Defined or
 * not whatever `l` is.
 */
export function viewLayout(op: Op, l: Layout): Layout | undefined {
  const from = op.args[0].type.shape;
  const to = op.results[0].type.shape;
  switch (op.op) {
    case "broadcast": {
      const lead = to.length - from.length;
      return mapBits(l, (b) => (axisOf(b) < lead || from[axisOf(b) - lead] === 1 ? NONE : b - 32 * lead));
    }
    case "transpose":
      return mapBits(l, (b) => bit(1 - axisOf(b), numberOf(b)));
    case "reshape":
      return reshaped(from, to, l);
    case "slice": {
      const { axis, start, size } = op.attrs as { axis: number; start: number; size: number };
      const high = log2Up(size);
      if (start % 2 ** high !== 0) return undefined;
      return mapBits(l, (b) => b, bitsOf(axis, start));
    }
    case "extract":
      return mapBits(
        l,
        () => NONE,
        (op.attrs.index as readonly number[]).flatMap((n, axis) => bitsOf(axis, n)),
      );
    default:
      return undefined;
  }
}

const bitsOf = (axis: number, n: number): Bit[] =>
  Array.from({ length: 31 }, (_, i) => i).flatMap((i) => ((n >> i) & 1 ? [bit(axis, i)] : []));

function reshaped(from: readonly number[], to: readonly number[], l: Layout): Layout | undefined {
  const wide = (s: readonly number[]): number[] => s.flatMap((n, i) => (n > 1 ? [i] : []));
  const [a, b] = [wide(from), wide(to)];
  if (a.length === b.length && a.every((axis, i) => from[axis] === to[b[i]])) {
    return mapBits(l, (x) => (b.includes(axisOf(x)) ? bit(a[b.indexOf(axisOf(x))], numberOf(x)) : NONE));
  }
  const isPower = (n: number): boolean => 2 ** log2Up(n) === n;
  if (!from.every(isPower) || !to.every(isPower)) return undefined;
  const order = (s: readonly number[]): Bit[] => s.flatMap((_, i) => axisBits(s, s.length - 1 - i));
  const [bitsFrom, bitsTo] = [order(from), order(to)];
  return mapBits(l, (x) => bitsFrom[bitsTo.indexOf(x)] ?? NONE);
}

/** The layout of a view's result whose operand is held in `l`; undefined where the view repeats or drops elements. */
export function inverseView(op: Op, l: Layout): Layout | undefined {
  const from = op.args[0].type.shape;
  const to = op.results[0].type.shape;
  if (l.fixed?.length) return undefined;
  if (op.op === "transpose") return mapBits(l, (b) => bit(1 - axisOf(b), numberOf(b)));
  if (op.op !== "reshape") return undefined;
  const back = reshaped(to, from, l);
  return back && [...back.regs].includes(NONE) ? undefined : back;
}

/** Where a layout keeps a bit of the position. */
type Place = { at: "reg" | "lane" | "group"; n: number } | undefined;

export function placeOf(l: Layout, b: Bit): Place {
  let n = l.regs.indexOf(b);
  if (n >= 0) return { at: "reg", n };
  n = l.lanes.indexOf(b);
  if (n >= 0) return { at: "lane", n };
  n = l.groups.indexOf(b);
  return n >= 0 ? { at: "group", n } : undefined;
}

const used = (l: Layout): Bit[] => [...l.regs, ...l.lanes, ...l.groups].filter((b) => b !== NONE);

/** True if a value held in `stored` can be read as `wanted` without moving anything between threads. */
export function satisfies(stored: Layout, wanted: Layout): boolean {
  return used(stored).every((b) => {
    const have = placeOf(stored, b)!;
    if (have.at === "reg") {
      const want = placeOf(wanted, b);
      return !want || want.at === "reg";
    }
    const want = placeOf(wanted, b);
    return want?.at === have.at && want.n === have.n;
  });
}

/** True if `wanted` needs one shuffle per register: the source register follows from the wanted one, simdgroups keep what they have. */
export function shufflable(stored: Layout, wanted: Layout): boolean {
  return used(stored).every((b) => {
    const have = placeOf(stored, b)!;
    const want = placeOf(wanted, b);
    if (have.at === "reg") return !want || want.at === "reg";
    if (have.at === "group") return want?.at === "group" && want.n === have.n;
    return want?.at !== "group";
  });
}

/** Masks of the lane and simdgroup bits along which elements repeat. */
export function replicas(l: Layout): { lane: number; group: number } {
  const mask = (bits: readonly Bit[]): number => bits.reduce((m, b, i) => (b === NONE ? m | (1 << i) : m), 0);
  return { lane: mask(l.lanes), group: mask(l.groups) };
}

/** Consecutive elements of `axis` that a thread holds in consecutive registers. */
export function vectorOf(l: Layout, axis: number): number {
  let n = 0;
  while (n < l.regs.length && l.regs[n] === bit(axis, n)) n++;
  return 2 ** n;
}

/** Size of every axis that a layout covers. */
export const coveredSize = (l: Layout, axis: number): number =>
  2 ** (1 + Math.max(-1, ...used(l).map((b) => (axisOf(b) === axis ? numberOf(b) : -1))));

/** Everything in registers: tiles that belong to one thread. */
export const ownLayout = (shape: readonly number[]): Layout => blocked(shape, rowMajor(shape), elements(shape), ONE_THREAD);

/** A run of hardware bits that are consecutive bits of an axis: ((x >> from) & (2^count - 1)) << to. */
export interface Run {
  from: number;
  count: number;
  to: number;
  /** True if it ends with the last hardware bit, so that no mask is needed. */
  top: boolean;
}

export function runs(bits: readonly Bit[], axis: number): Run[] {
  const out: Run[] = [];
  bits.forEach((b, i) => {
    if (b === NONE || axisOf(b) !== axis) return;
    const last = out.at(-1);
    if (last && last.from + last.count === i && last.to + last.count === numberOf(b)) last.count++;
    else out.push({ from: i, count: 1, to: numberOf(b), top: false });
  });
  for (const r of out) r.top = r.from + r.count === bits.length;
  return out;
}

/** `name` is an int expression of the hardware number that the runs cut up; 0 terms give "". */
export function runsText(list: readonly Run[], name: string): string {
  return list
    .map((r) => {
      const shifted = r.from ? `${name} >> ${r.from}` : name;
      const masked = r.top ? shifted : `${r.from ? `(${shifted})` : shifted} & ${2 ** r.count - 1}`;
      if (r.to === 0) return masked === name ? name : `(${masked})`;
      return masked === name ? `${name} * ${2 ** r.to}` : `(${masked}) * ${2 ** r.to}`;
    })
    .join(" + ");
}
