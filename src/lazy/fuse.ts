/**
 * From the buffers that are wanted to groups of operations, one for each dispatch. An operation that is more than elementwise is a group's *anchor*;
 * elementwise work behind it becomes its epilogue, and work before the input of a row kernel its prologue. Equal subexpressions are one.
 *
 * Groups are found from the results backwards: an operation joins the group of its users when all of them are in one group and it fits there, and
 * begins a group of its own otherwise. So nothing is computed twice, and what several groups need is written to memory once.
 */
import type { Node, Operation } from "./node.ts";

/** A node of the work at hand; equal nodes are one vertex. */
export interface Vertex {
  readonly node: Node;
  readonly inputs: readonly Vertex[];
  readonly users: Set<Vertex>;
  /** Position in an order where inputs come first. */
  readonly index: number;
}

export interface Group {
  /** What the dispatch writes. */
  readonly root: Vertex;
  /** The operation whose kernel it is; undefined when all of it is elementwise. */
  anchor?: Vertex;
  /** Elementwise operations behind the anchor, or all. */
  readonly epilogue: Set<Vertex>;
  /** Elementwise operations before the anchor's first input. */
  readonly prologue: Set<Vertex>;
  /** What the group reads. */
  readonly reads: Set<Vertex>;
}

/** The most operands of one kernel (GPUs bind about 30 buffers), and the most operations: kernels stay quick to compile. */
const MAX_READS = 20;
const MAX_FUSED = 64;

/** Operations whose first input may be computed where it is read. */
const TAKES_PROLOGUE: readonly Operation["kind"][] = ["softmax", "normalize", "reduce", "crossEntropy"];
const ANCHORS: readonly Operation["kind"][] = ["dot", "softmax", "normalize", "reduce", "crossEntropy", "attention"];

/** Whether a vertex is memory already, a number, or another look at its input: nothing to dispatch. */
export const isLeaf = (v: Vertex): boolean => v.node.storage !== undefined || v.node.op.kind === "data" || v.node.op.kind === "number";
export const isView = (v: Vertex): boolean => !isLeaf(v) && (v.node.op.kind === "reshape" || v.node.op.kind === "output");

/** The vertex whose memory holds a vertex's elements. Outputs of a launch have memory of their own. */
export function memoryOf(v: Vertex): Vertex {
  while (!isLeaf(v) && v.node.op.kind === "reshape") v = v.inputs[0];
  return v;
}

/** The vertices that `roots` need, inputs first, and the vertex of each root. */
export function collect(roots: readonly Node[]): { order: Vertex[]; of: Map<Node, Vertex> } {
  const of = new Map<Node, Vertex>();
  const known = new Map<string, Vertex>();
  const order: Vertex[] = [];
  // Without recursion: chains may be long.
  const stack = roots.map((node) => ({ node, open: false }));
  while (stack.length) {
    const top = stack.at(-1)!;
    const { node } = top;
    if (of.has(node)) stack.pop();
    else if (!top.open) {
      top.open = true;
      node.checkUsable();
      for (const input of node.inputs) if (!of.has(input)) stack.push({ node: input, open: false });
    } else {
      stack.pop();
      const inputs = node.inputs.map((n) => of.get(n)!);
      const key = equalityKey(node, inputs);
      let vertex = key === undefined ? undefined : known.get(key);
      if (!vertex) {
        vertex = { node, inputs, users: new Set(), index: order.length };
        order.push(vertex);
        for (const input of inputs) input.users.add(vertex);
        if (key !== undefined) known.set(key, vertex);
      }
      of.set(node, vertex);
    }
  }
  return { order, of };
}

const identities = new WeakMap<object, number>();
let identityCount = 0;
function identity(o: object): number {
  let id = identities.get(o);
  if (id === undefined) identities.set(o, (id = ++identityCount));
  return id;
}

/** Equal for nodes that compute the same; undefined for those that are only equal to themselves. */
function equalityKey(node: Node, inputs: readonly Vertex[]): string | undefined {
  const { op } = node;
  if (node.storage || op.kind === "data" || op.kind === "launch") return undefined;
  const facts = op.kind === "pointwise" ? [op.kind, op.name, op.fn ? identity(op.fn) : 0] : Object.values(op).map(String);
  return JSON.stringify([facts, node.dtype, node.shape, inputs.map((v) => v.index)]);
}

/** Cuts the work into groups, in an order in which they can run. */
export function group(order: readonly Vertex[], roots: ReadonlySet<Vertex>): Group[] {
  const groups: Group[] = [];
  const home = new Map<Vertex, Group>();
  const behind = behindAnchors(order, roots);
  for (const v of order.toReversed()) {
    if (isLeaf(v) || isView(v)) continue;
    const target = roots.has(v) ? undefined : joins(v, home, behind);
    if (target) {
      target.part.add(v);
      if (target.part !== target.group.prologue && isAnchor(v)) {
        target.group.anchor = v;
        target.part.delete(v);
      }
      home.set(v, target.group);
      target.group.reads.delete(v);
      for (const input of v.inputs) target.group.reads.add(input);
      continue;
    }
    const made: Group = { root: v, epilogue: new Set(), prologue: new Set(), reads: new Set(v.inputs) };
    if (v.node.op.kind === "pointwise") made.epilogue.add(v);
    else made.anchor = v;
    home.set(v, made);
    groups.push(made);
  }
  return groups.toReversed();
}

const isAnchor = (v: Vertex): boolean => ANCHORS.includes(v.node.op.kind);

/** Elementwise work that the kernel of an anchor before it can do: there every element is computed once, a row kernel may read its row several times. */
function behindAnchors(order: readonly Vertex[], roots: ReadonlySet<Vertex>): Set<Vertex> {
  const behind = new Set<Vertex>();
  for (const v of order) {
    if (isLeaf(v) || v.node.op.kind !== "pointwise") continue;
    const carries = (i: Vertex): boolean =>
      i.users.size === 1 && !roots.has(i) && !isLeaf(i) && sameShape(i, v) && (isAnchor(i) || behind.has(i));
    if (v.inputs.some(carries)) behind.add(v);
  }
  return behind;
}

const sameShape = (a: Vertex, b: Vertex): boolean =>
  a.node.shape.length === b.node.shape.length && a.node.shape.every((n, i) => n === b.node.shape[i]);

/** The group that all users of a vertex are in, and the part of it that `v` would join; undefined when there is none where it fits. */
function joins(v: Vertex, home: ReadonlyMap<Vertex, Group>, behind: ReadonlySet<Vertex>): { group: Group; part: Set<Vertex> } | undefined {
  const users = [...v.users];
  const g = users.length ? home.get(users[0]) : undefined;
  if (!g || users.some((u) => home.get(u) !== g)) return undefined;
  if (g.epilogue.size + g.prologue.size >= MAX_FUSED) return undefined;
  const reads = new Set(g.reads);
  for (const input of v.inputs) reads.add(input);
  if (reads.size - 1 > MAX_READS) return undefined;

  if (users.every((u) => g.epilogue.has(u))) {
    if (v.node.op.kind === "pointwise") return { group: g, part: g.epilogue };
    return isAnchor(v) && !g.anchor && sameShape(v, g.root) ? { group: g, part: g.epilogue } : undefined;
  }
  if (v.node.op.kind !== "pointwise" || behind.has(v) || !g.anchor || !TAKES_PROLOGUE.includes(g.anchor.node.op.kind)) return undefined;
  const { anchor } = g;
  const before = users.every((u) => g.prologue.has(u) || (u === anchor && u.inputs[0] === v && u.inputs.lastIndexOf(v) === 0));
  return before ? { group: g, part: g.prologue } : undefined;
}
