/** The graph: nodes in execution order, equal pure nodes shared (common subexpressions). Model code builds it through `src/models`. */
import type { Dispatch } from "../runtime/device.ts";
import type { LowerContext } from "./lower.ts";
import type { Dim, Sizes, Tensor } from "./tensor.ts";
import type { WeightRef } from "./weights.ts";

export interface Cost {
  /** Floating-point (or integer multiply-add counted as two) operations. */
  flops: number;
  /** Bytes of weights, state and activations that have to move at least once. */
  bytes: number;
}

export interface OutputType {
  shape: readonly Dim[];
  dtype?: Tensor["dtype"];
  bytes?: Tensor["bytes"];
}

/** Everything about one op in one place. A is its attributes; they must be plain data (they key the sharing of equal nodes). */
export interface OpDef<A = unknown> {
  name: string;
  /** Throws AlloyError when inputs do not fit. Undefined: the op writes state only (KV cache). */
  shape(inputs: readonly Tensor[], attrs: A): OutputType | undefined;
  cost(inputs: readonly Tensor[], attrs: A, sizes: Sizes): Cost;
  lower(ctx: LowerContext, node: Node<A>): Dispatch[];
  /** Index of the input whose memory the output reuses. */
  inPlace?: (attrs: A) => number | undefined;
  /** The op reads sequences' contexts, whose lengths its cost does not know. */
  readsContext?: boolean;
  /** Inputs of which the op knows the shape and does not read the values. */
  unread?: (attrs: A) => readonly number[];
  /** Weights that the op multiplies with, and small ones that it wants as float32 vectors: loaded ahead of the first run. */
  matrices?: (attrs: A) => readonly WeightRef[];
  vectors?: (attrs: A) => readonly string[];
}

export interface Node<A = unknown> {
  op: OpDef<A>;
  inputs: readonly Tensor[];
  attrs: A;
  output?: Tensor;
  label: string;
}

export class Graph {
  nodes: Node[] = [];
  readonly inputs = new Map<string, Tensor>();
  readonly #shared = new Map<string, Tensor>();
  #nextId = 0;
  #scope: string[] = [];

  /** A tensor that the caller provides at run time; asking twice gives the same one. */
  input(name: string, shape: readonly Dim[], dtype: Tensor["dtype"] = "f32"): Tensor {
    let t = this.inputs.get(name);
    if (!t) this.inputs.set(name, (t = { id: this.#nextId++, shape, dtype }));
    return t;
  }

  /** Adds a node and returns its output. Equal pure nodes are made once. */
  apply<A>(op: OpDef<A>, inputs: readonly Tensor[], attrs: A, label = op.name): Tensor {
    const pure = op.inPlace?.(attrs) === undefined;
    const key = pure ? `${op.name}(${inputs.map((i) => i.id).join()})${JSON.stringify(attrs)}` : "";
    const known = pure ? this.#shared.get(key) : undefined;
    if (known) return known;
    const type = op.shape(inputs, attrs);
    const output: Tensor = { id: this.#nextId++, shape: type?.shape ?? [], dtype: type?.dtype ?? "f32", bytes: type?.bytes };
    this.nodes.push({ op: op as OpDef, inputs, attrs, output: type ? output : undefined, label: [...this.#scope, label].join(".") });
    if (pure && type) this.#shared.set(key, output);
    return output;
  }

  /** Labels of nodes made inside get this prefix. */
  scope<R>(name: string, body: () => R): R {
    this.#scope.push(name);
    try {
      return body();
    } finally {
      this.#scope.pop();
    }
  }

  /** Work of one run at these sizes: the analytical side of the roofline. */
  cost(sizes: Sizes): Cost {
    const total = { flops: 0, bytes: 0 };
    for (const n of this.nodes) {
      const c = n.op.cost(n.inputs, n.attrs, sizes);
      total.flops += c.flops;
      total.bytes += c.bytes;
    }
    return total;
  }
}
