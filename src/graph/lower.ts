/** From a graph to dispatches on a device: one plan per class of sizes, run with the step's actual sizes in slots. */
import type { KernelSet } from "../../kernels/api.ts";
import type { AnyKernel } from "../compiler/language/index.ts";
import { compileProgram } from "../compiler/program.ts";
import type { Device, DeviceBuffer, Dispatch, Plan, Program, Slot } from "../runtime/device.ts";
import { AlloyError } from "../support/errors.ts";
import type { Graph } from "./graph.ts";
import { planMemory } from "./memory.ts";
import { type Sizes, type Tensor, tensorBytes } from "./tensor.ts";
import type { WeightStore } from "./weights.ts";

/** Values known only when a plan runs; grids and scalars are functions of them. */
export type StepSizes = Sizes & Readonly<Record<string, number>>;

/** What an op's lowering may ask for. */
export interface LowerContext {
  device: Device;
  weights: WeightStore;
  /** The device's kernels. */
  kernels: KernelSet;
  /** Upper bounds of the symbolic dimensions in this plan. */
  max: Sizes;
  readonly threads: number;
  program(kernel: AnyKernel, constexprs: Record<string, number | string | boolean>): Program;
  /** Memory of a tensor, exactly as large: in the arena, or the caller's buffer for inputs. Devices order dispatches by these ranges. */
  buffer(t: Tensor): DeviceBuffer;
  /** A named buffer of the caller (KV cache of a layer, tables). */
  state(name: string): DeviceBuffer;
  /** A slot that holds f(sizes) at every run; equal keys share one. */
  slot(key: string, f: (sizes: StepSizes) => number): Slot;
  /** So many bytes, valid within this node's dispatches. */
  scratch(bytes: number): DeviceBuffer;
}

export interface LoweredGraph {
  dispatches: readonly Dispatch[];
  /** Runs the plan with these sizes. */
  run(sizes: StepSizes): Promise<void>;
  profile(sizes: StepSizes): ReturnType<Plan["profile"]>;
  free(): void;
}

export interface LowerOptions {
  device: Device;
  weights: WeightStore;
  max: Sizes;
  /** Buffers of graph inputs and of states by name. */
  buffers: ReadonlyMap<string, DeviceBuffer>;
  /** Where the graph's results go: tensor -> caller's buffer. */
  results: ReadonlyMap<Tensor, DeviceBuffer>;
  arena: (bytes: number) => DeviceBuffer;
  scratch: (bytes: number) => DeviceBuffer;
}

/**
 * Work on fewer bytes stays on one thread: 64 KiB of what was just written take a microsecond or two, and so does meeting the other threads, who would
 * have to fetch it from this one's cache.
 */
const SMALL_BYTES = 64 << 10;

export function lowerGraph(graph: Graph, options: LowerOptions): LoweredGraph {
  const { device, weights, max, buffers, results } = options;
  const inputNames = new Map([...graph.inputs].map(([name, t]) => [t.id, name]));
  const { kernels } = weights;
  const memory = planMemory(graph, max, kernels, [...results.keys()]);
  const arena = options.arena(memory.bytes);
  const slots = new Map<string, { slot: Slot; f: (sizes: StepSizes) => number }>();
  const named = (name: string): DeviceBuffer => {
    const b = buffers.get(name);
    if (!b) throw new AlloyError("internal", `graph needs a buffer "${name}" that the caller did not give`);
    return b;
  };
  const resultOf = new Map([...results].map(([t, b]) => [t.id, b]));
  const ctx: LowerContext = {
    device,
    weights,
    kernels,
    max,
    threads: device.properties.threads,
    program: (kernel, constexprs) => compileProgram(device, kernel, constexprs),
    buffer(t) {
      const result = resultOf.get(t.id);
      if (result) return result;
      const name = inputNames.get(memory.roots.get(t.id) ?? t.id);
      if (name !== undefined) return named(name);
      const offset = memory.offsets.get(t.id);
      if (offset === undefined) throw new AlloyError("internal", `tensor ${t.id} was never placed`);
      return arena.slice(offset, tensorBytes(t, max, kernels));
    },
    state: named,
    slot(key, f) {
      let s = slots.get(key);
      if (!s) slots.set(key, (s = { slot: { slot: slots.size }, f }));
      return s.slot;
    },
    scratch: (bytes) => options.scratch(bytes).slice(0, bytes),
  };
  const dispatches = graph.nodes.flatMap((node) => {
    const small = !node.op.readsContext && node.op.cost(node.inputs, node.attrs, max).bytes < SMALL_BYTES;
    const parallel = small ? "serial" : "auto";
    return node.op.lower(ctx, node).map((d): Dispatch => ({ parallel, ...d, label: d.label ?? node.label }));
  });
  const plan = device.plan(dispatches, slots.size);
  const entries = [...slots.values()];
  const set = (sizes: StepSizes): void => {
    for (const { slot, f } of entries) plan.setInt(slot, f(sizes));
  };
  return {
    dispatches,
    async run(sizes) {
      set(sizes);
      await plan.submit();
    },
    profile(sizes) {
      set(sizes);
      return plan.profile();
    },
    free: () => plan.free(),
  };
}
