/** From a group of operations to a dispatch: which kernel, specialised how, over which grid. */
import { flashAttention } from "../../kernels/flash-attention.ts";
import { matmul } from "../../kernels/matmul.ts";
import { pointwise } from "../../kernels/pointwise.ts";
import { crossEntropy, normalize, reduce, softmax } from "../../kernels/rows.ts";
import type { AnyKernel, Constexprs, Helper, UsedValue } from "../compiler/language/index.ts";
import { broadcastBatches } from "./builtin-shapes.ts";
import { Expressions, flatView, rowView, type Given, type View } from "./expression.ts";
import { type Group, type Vertex } from "./fuse.ts";
import type { DeviceProperties } from "../runtime/device.ts";
import type { LaunchSlot, Node, Operation } from "./node.ts";
import { DTYPES } from "../compiler/language/signature.ts";
import { bytesOf, elementsOf } from "./shapes.ts";
import { powerOfTwo, tilesOf, type Tiles } from "./tiles.ts";

export interface Lowered {
  kernel: AnyKernel;
  constexprs: Constexprs;
  grid: readonly [number, number, number];
  /** In the order of the kernel's run-time parameters; "result" is what the group writes. */
  args: readonly (Given | "result" | { output: string; bytes: number })[];
  /** Operations in the order in which they are applied. */
  operations: readonly string[];
}

type Of<K extends Operation["kind"]> = Extract<Operation, { kind: K }>;
const dtypeOf = (v: Vertex) => DTYPES[v.node.dtype];

/** Names of the operations: prologue, anchor, epilogue. */
function operationNames(g: Group): string[] {
  const name = ({ op }: Node): string => {
    if (op.kind === "pointwise") return op.name;
    if (op.kind === "normalize") return op.center ? "layerNorm" : "rmsNorm";
    if (op.kind === "reduce") return op.how;
    if (op.kind === "dot") return op.transposed ? "dotTransposeB" : "dot";
    return op.kind === "launch" ? op.kernel.name : op.kind;
  };
  const sorted = (part: Iterable<Vertex>) => [...part].sort((a, b) => a.index - b.index).map((v) => name(v.node));
  return [...sorted(g.prologue), ...(g.anchor ? [name(g.anchor.node)] : []), ...sorted(g.epilogue)];
}

/** Kernels by name: the same work is compiled once per process. */
const kernels = new Map<string, AnyKernel>();

const prints = new WeakMap<Helper, string>();
/** What a helper and all that it uses look like, as text. */
function fingerprint(value: UsedValue): string {
  if (typeof value === "function") {
    let print = prints.get(value);
    if (print === undefined) prints.set(value, (print = value.source.text + fingerprint(value.uses)));
    return print;
  }
  if (typeof value !== "object" || value === null) return `${typeof value}:${String(value)}`;
  return `{${Object.entries(value)
    .map(([key, v]) => `${key}=${fingerprint(v as UsedValue)}`)
    .join(";")}}`;
}

class Lowering {
  readonly expressions = new Expressions();
  readonly tiles: Tiles;

  constructor(
    readonly g: Group,
    readonly device: DeviceProperties,
  ) {
    this.tiles = tilesOf(device);
  }

  /** What stands behind the anchor, seen as rows × columns of `view`. */
  epilogue(view: View): Helper {
    return this.expressions.section(this.g.root, this.g.epilogue, view, this.g.anchor);
  }

  /** What stands before the anchor's first input. */
  source(view: View): Helper {
    return this.expressions.section(this.g.anchor!.inputs[0], this.g.prologue, view);
  }

  /** The kernel that `make` builds under a name of its own, with an argument for each parameter. `types`: what else it depends on. */
  finish(
    make: (f: { name: string; params: Expressions["params"] }) => AnyKernel,
    types: readonly string[],
    constexprs: Constexprs,
    grid: readonly [number, number, number],
    given: Readonly<Record<string, Given>>,
  ): Lowered {
    const { params, helpers } = this.expressions;
    const operations = operationNames(this.g);
    const kinds = Object.entries(params).map(([name, p]) => `${name}:${p.kind}:${"dtype" in p ? p.dtype : ""}`);
    const text = [...types, ...kinds, ...helpers.map(fingerprint)].join("\n");
    const hash = new Bun.CryptoHasher("sha256").update(text).digest("hex").slice(0, 10);
    const name = `${operations.join("_").slice(0, 48)}_${hash}`;
    let kernel = kernels.get(name);
    if (!kernel) kernels.set(name, (kernel = make({ name, params })));
    const all: Record<string, Given> = { ...this.expressions.given, ...given };
    const names = Object.entries(kernel.signature).flatMap(([key, p]) => (p.kind === "constexpr" || p.kind === "constant" ? [] : [key]));
    return { kernel, constexprs, grid, args: names.map((key) => (key === "y" ? "result" : all[key])), operations };
  }
}

/** A kernel over the rows of the anchor's input. `oneEach`: it gives one value per row. */
function rowKernel(
  l: Lowering,
  oneEach: boolean,
  make: (f: { name: string; params: Expressions["params"]; source: Helper; epilogue: Helper }) => AnyKernel,
  kind: string,
  constexprs: Constexprs,
  given: Readonly<Record<string, Given>> = {},
): Lowered {
  const input = l.g.anchor!.inputs[0].node.shape;
  const view = rowView(input);
  const columns = view.columns;
  const source = l.source(view);
  const behind = rowView(l.g.root.node.shape);
  // One value per row: operands have the result's shape, with an axis of one column behind it.
  const epilogue = l.epilogue(oneEach ? { ...behind, of: (shape) => rowView([...l.g.root.node.shape, 1]).of([...shape, 1]) } : behind);
  const whole = columns <= l.tiles.wholeRow;
  const BLOCK = whole ? powerOfTwo(columns, 16) : l.tiles.rowPiece;
  const types = [kind, l.g.root.node.dtype];
  const block: Constexprs = oneEach ? { BLOCK } : { BLOCK, WHOLE: whole };
  const all = { N: columns, ...given };
  return l.finish((f) => make({ ...f, source, epilogue }), types, { ...constexprs, ...block }, [view.rows, 1, 1], all);
}

const LOWER: { readonly [K in Operation["kind"]]?: (l: Lowering, op: Of<K>) => Lowered } = {
  softmax: (l) => rowKernel(l, false, (f) => softmax(f, dtypeOf(l.g.root)), "softmax", {}),
  normalize: (l, op) => rowKernel(l, false, (f) => normalize(f, dtypeOf(l.g.root)), "normalize", { CENTER: op.center }, { eps: op.eps }),
  reduce: (l, op) => rowKernel(l, true, (f) => reduce(f, dtypeOf(l.g.root)), "reduce", { HOW: op.how }),
  crossEntropy: (l) => rowKernel(l, true, (f) => crossEntropy(f, dtypeOf(l.g.root)), "crossEntropy", {}, { labels: l.g.anchor!.inputs[1] }),

  dot(l, op) {
    const [a, b] = l.g.anchor!.inputs;
    const [as, bs, ys] = [a.node.shape, b.node.shape, l.g.root.node.shape];
    const [M, N, K] = [ys.at(-2)!, ys.at(-1)!, as.at(-1)!];
    const batches = broadcastBatches(as, bs);
    const { BM, BN, BK } = l.tiles.dot(M, N, l.device.threads);
    const aStart = l.expressions.start(as, batches, "a");
    const bStart = l.expressions.start(bs, batches, "b");
    const epilogue = l.epilogue(rowView(ys));
    const types = ["dot", a.node.dtype, b.node.dtype, l.g.root.node.dtype];
    return l.finish(
      (f) => matmul({ ...f, aStart, bStart, epilogue }, dtypeOf(a), dtypeOf(b), dtypeOf(l.g.root)),
      types,
      { TRANSPOSED: op.transposed, WIDE: a.node.dtype !== b.node.dtype, BM, BN, BK },
      [Math.ceil(M / BM), Math.ceil(N / BN), elementsOf(batches)],
      { a, b, M, N, K },
    );
  },

  attention(l, op) {
    const [q, k, v] = l.g.anchor!.inputs;
    const [T, D] = q.node.shape.slice(-2);
    const H = q.node.shape.at(-3) ?? 1;
    const S = k.node.shape.at(-2)!;
    const G = H / Math.max(1, k.node.shape.at(-3) ?? 1);
    const { BM, BN } = l.tiles.attention;
    const epilogue = l.epilogue(rowView(l.g.root.node.shape));
    const types = ["attention", q.node.dtype, l.g.root.node.dtype];
    return l.finish(
      (f) => flashAttention({ ...f, epilogue }, dtypeOf(q), dtypeOf(l.g.root)),
      types,
      { CAUSAL: op.causal, BD: powerOfTwo(D, 16), BM, BN },
      [D === 0 ? 0 : Math.ceil(T / BM), H, elementsOf(q.node.shape.slice(0, -3))],
      { q, k, v, H, G, T, S, D, scale: op.scale },
    );
  },

  launch(l, op) {
    const { inputs } = l.g.root;
    const arg = (slot: LaunchSlot) =>
      "input" in slot
        ? inputs[slot.input]
        : "number" in slot
          ? slot.number
          : { output: slot.output, bytes: bytesOf([slot.elements], slot.dtype) };
    return { kernel: op.kernel, constexprs: op.constexprs, grid: op.grid, args: op.slots.map(arg), operations: operationNames(l.g) };
  },
};

/** All of it elementwise. */
function lowerPointwise(l: Lowering): Lowered {
  const { root } = l.g;
  const view = flatView(
    root.node.shape,
    [...l.g.reads].map((v) => v.node.shape),
  );
  const source = l.expressions.section(root, l.g.epilogue, view);
  const total = l.tiles.elementwise;
  const BC = Math.min(total, powerOfTwo(view.columns, 16));
  const BR = view.rows === 1 ? 1 : Math.min(Math.max(1, total / BC), powerOfTwo(view.rows));
  return l.finish(
    (f) => pointwise({ ...f, source, epilogue: source }, dtypeOf(root)),
    ["pointwise", root.node.dtype],
    { BR, BC },
    [Math.ceil(view.columns / BC), Math.ceil(view.rows / BR), 1],
    { rows: view.rows, columns: view.columns },
  );
}

/** The dispatch that computes a group. Throws `kernel_error` for mistakes in a user's helper when it is compiled. */
export function lower(g: Group, device: DeviceProperties): Lowered {
  const l = new Lowering(g, device);
  if (!g.anchor) return lowerPointwise(l);
  const { op } = g.anchor.node;
  return (LOWER[op.kind] as (l: Lowering, op: Operation) => Lowered)(l, op);
}
