/** What a lazy buffer is made of: an operation and its operands, until the result is there. */
import type { DType } from "../compiler/ir/types.ts";
import type { Constexprs, Helper, Kernel } from "../compiler/language/index.ts";
import type { Grid } from "../compiler/launch.ts";
import { AlloyError } from "../support/errors.ts";
import type { Storage } from "./memory.ts";
import type { Shape } from "./shapes.ts";

export type Reduction = "sum" | "mean" | "max" | "min";

/** One argument of a kernel's launch, in order: an operand, a number, or an output of so many elements. */
export type LaunchSlot = { input: number } | { number: number } | { output: string; elements: number; dtype: DType };

export type Operation =
  /** Memory that was given. */
  | { kind: "data" }
  /** A number among tiles; it takes its type from them. */
  | { kind: "number"; value: number }
  /** Inputs broadcast. `cast` has no function: the node's type says all. */
  | { kind: "pointwise"; name: string; fn?: Helper }
  | { kind: "reshape" }
  | { kind: "dot"; transposed: boolean }
  | { kind: "softmax" }
  | { kind: "normalize"; center: boolean; eps: number }
  | { kind: "reduce"; how: Reduction }
  /** Inputs: scores, labels. */
  | { kind: "crossEntropy" }
  /** Inputs: q, k, v. */
  | { kind: "attention"; causal: boolean; scale: number }
  | {
      kind: "launch";
      kernel: Kernel;
      constexprs: Constexprs;
      grid: Grid;
      slots: readonly LaunchSlot[];
      /** The nodes of its outputs, by name, while somebody has them. */
      outputs: Map<string, WeakRef<Node>>;
    }
  /** One output of its input, a launch. */
  | { kind: "output"; name: string };

/** Frees a result when nobody can reach the node any more. */
const forgotten = new FinalizationRegistry<Storage>((storage) => storage.release());

export class Node {
  private result: Storage | undefined;
  private freed = false;
  /** The run that is making the result. */
  pending: Promise<void> | undefined;

  constructor(
    readonly op: Operation,
    private operands: readonly Node[],
    readonly shape: Shape,
    readonly dtype: DType,
  ) {}

  /** Empty once the result is there: what it was made from may be forgotten. */
  get inputs(): readonly Node[] {
    return this.operands;
  }

  get storage(): Storage | undefined {
    return this.result;
  }

  /** Takes over one reference to the storage. */
  resolve(storage: Storage): void {
    if (this.result || this.freed) return storage.release();
    this.result = storage;
    this.operands = [];
    forgotten.register(this, storage, this);
  }

  free(): void {
    this.freed = true;
    this.operands = [];
    if (!this.result) return;
    forgotten.unregister(this);
    this.result.release();
    this.result = undefined;
  }

  /** Throws `bad_argument` when the buffer was freed. */
  checkUsable(): void {
    if (!this.freed) return;
    throw new AlloyError("bad_argument", `A lazy buffer of shape [${this.shape.join(", ")}] is used after free()`, {
      hint: "Free a buffer when everything that is computed from it has been read.",
    });
  }
}
