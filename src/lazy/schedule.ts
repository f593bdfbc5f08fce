/** Turns what is wanted into dispatches with memory for what they write, and runs them. */
import { PrintLog } from "../compiler/prints.ts";
import { compileProgram } from "../compiler/program.ts";
import type { AnyKernel } from "../compiler/language/index.ts";
import { defaultDevice } from "../compiler/default-device.ts";
import type { Device, DeviceBuffer, Dispatch, Plan } from "../runtime/device.ts";
import { AlloyError } from "../support/errors.ts";
import { collect, group, isLeaf, memoryOf, type Group, type Vertex } from "./fuse.ts";
import { lower, type Lowered } from "./lower.ts";
import { MemoryPool, poolOf, Storage } from "./memory.ts";
import type { Node } from "./node.ts";
import { bytesOf } from "./shapes.ts";

export interface Step extends Lowered {
  readonly group: Group;
}

/** What has to be done for some nodes: nothing is allocated or compiled yet. */
export interface Work {
  readonly device: Device;
  readonly roots: readonly Node[];
  readonly vertices: ReadonlyMap<Node, Vertex>;
  readonly steps: readonly Step[];
}

/** Plans the dispatches that give `roots`. Throws `bad_argument` for freed buffers and buffers of several devices. */
export function planWork(roots: readonly Node[]): Work {
  const { order, of } = collect(roots);
  const devices = new Set(order.flatMap((v) => v.node.storage?.device ?? []));
  if (devices.size > 1) {
    const names = [...devices].map((d) => d.properties.name).join(" and ");
    throw new AlloyError("bad_argument", `Lazy buffers of several devices meet: ${names}`, { hint: "Make them all on one device." });
  }
  const device = [...devices][0] ?? defaultDevice();
  const wanted = new Set(roots.map((n) => memoryOf(of.get(n)!)));
  const steps = group(order, wanted).map((g): Step => ({ ...lower(g, device.properties), group: g }));
  return { device, roots, vertices: of, steps };
}

/** Memory for what the steps of one run write. Temporary blocks are used again as soon as their last reader is behind. */
class RunMemory {
  private readonly blocks = new Map<Vertex, DeviceBuffer>();
  private readonly outputs = new Map<Vertex, Map<string, Storage>>();
  readonly results = new Map<Vertex, Storage>();
  /** Held until the run is over, so that nobody frees them meanwhile. */
  private readonly held: Storage[] = [];
  private readonly temporary: DeviceBuffer[] = [];
  private readonly spare = new Map<number, DeviceBuffer[]>();
  private readonly lastUse = new Map<Vertex, number>();
  temporaryBytes = 0;

  constructor(
    private readonly work: Work,
    private readonly pool: MemoryPool,
  ) {
    work.steps.forEach((s, i) => {
      for (const v of s.group.reads) this.lastUse.set(memoryOf(v), i);
    });
  }

  /** Exactly the memory of a vertex's elements, so that devices which check accesses see where they end. */
  window(v: Vertex): DeviceBuffer {
    return this.block(memoryOf(v)).slice(0, bytesOf(v.node.shape, v.node.dtype));
  }

  private block(m: Vertex): DeviceBuffer {
    if (isLeaf(m)) {
      const storage = m.node.storage!;
      if (!this.held.includes(storage)) this.held.push(storage.retain());
      return storage.block;
    }
    if (m.node.op.kind === "output") return this.outputs.get(m.inputs[0])!.get(m.node.op.name)!.block;
    return this.blocks.get(m)!;
  }

  /** Memory for what a step writes. */
  write(step: Step, wanted: ReadonlySet<Vertex>): void {
    const { root } = step.group;
    const { op } = root.node;
    if (op.kind === "launch") {
      const made = new Map<string, Storage>();
      for (const slot of op.slots) {
        if (!("output" in slot)) continue;
        const storage = Storage.make(this.pool, bytesOf([slot.elements], slot.dtype));
        // Kernels may count on zeros, as with arrays (atomics do).
        storage.block.view().fill(0);
        made.set(slot.output, storage);
      }
      this.outputs.set(root, made);
      return;
    }
    const bytes = bytesOf(root.node.shape, root.node.dtype);
    if (wanted.has(root)) {
      const storage = Storage.make(this.pool, bytes);
      this.results.set(root, storage);
      this.blocks.set(root, storage.block);
    } else this.blocks.set(root, this.temporaryBlock(bytes));
  }

  private temporaryBlock(bytes: number): DeviceBuffer {
    // The smallest spare block that is large enough, but no giant for a dwarf.
    const size = [...this.spare.keys()]
      .filter((s) => s >= bytes && s <= 2 * bytes + 4096 && this.spare.get(s)!.length)
      .sort((a, b) => a - b)[0];
    const again = size === undefined ? undefined : this.spare.get(size)!.pop();
    if (again) return again;
    const block = this.pool.take(bytes);
    this.temporary.push(block);
    this.temporaryBytes += block.bytes;
    return block;
  }

  /** After step `i`: temporary blocks that nobody reads later are spare. */
  passed(i: number): void {
    for (const v of this.work.steps[i].group.reads) {
      const m = memoryOf(v);
      const block = this.blocks.get(m);
      if (!block || this.results.has(m) || this.lastUse.get(m) !== i) continue;
      this.blocks.delete(m);
      const same = this.spare.get(block.bytes);
      if (same) same.push(block);
      else this.spare.set(block.bytes, [block]);
    }
  }

  output(launch: Vertex, name: string): Storage {
    return this.outputs.get(launch)!.get(name)!;
  }

  /** Hands results to their nodes. */
  settle(): void {
    for (const [node, v] of this.work.vertices) {
      if (isLeaf(v)) continue;
      const m = memoryOf(v);
      if (!isLeaf(m) && m.node.op.kind === "output") node.resolve(this.output(m.inputs[0], m.node.op.name).retain());
      else if (this.work.roots.includes(node)) node.resolve((m.node.storage ?? this.results.get(m)!).retain());
    }
    // A launch ran for all of its outputs, whoever asked.
    for (const [launch, made] of this.outputs)
      if (launch.node.op.kind === "launch")
        for (const [name, output] of launch.node.op.outputs) output.deref()?.resolve(made.get(name)!.retain());
  }

  /** Gives everything back that no node took over. */
  release(): void {
    for (const s of this.held) s.release();
    for (const s of this.results.values()) s.release();
    for (const made of this.outputs.values()) for (const s of made.values()) s.release();
    for (const b of this.temporary) this.pool.give(b);
  }
}

/** Blocks that exist by size only. */
class ImaginaryPool extends MemoryPool {
  override take(bytes: number): DeviceBuffer {
    const slice = (_: number, n: number): DeviceBuffer => this.take(n);
    return { bytes, address: 0, slice, view: () => new Uint8Array(0), free: () => {} };
  }
}

/** Bytes of temporary memory that the work takes. */
export function temporaryBytes(work: Work): number {
  const memory = new RunMemory(work, new ImaginaryPool(work.device));
  allocate(work, memory);
  memory.release();
  return memory.temporaryBytes;
}

/** Dispatches with their memory. */
function allocate(work: Work, memory: RunMemory, program?: (kernel: AnyKernel, step: Step) => Dispatch["program"]): Dispatch[] {
  const wanted = new Set(work.roots.map((n) => memoryOf(work.vertices.get(n)!)));
  return work.steps.flatMap((step, i) => {
    memory.write(step, wanted);
    const args = step.args.map((a) => {
      if (typeof a === "number") return a;
      if (a === "result") return memory.window(step.group.root);
      return "output" in a ? memory.output(step.group.root, a.output).block.slice(0, a.bytes) : memory.window(a);
    });
    memory.passed(i);
    if (!program) return [];
    return [{ program: program(step.kernel, step), grid: step.grid, args, label: step.operations.join(" ") }];
  });
}

/** Runs the work; afterwards its roots have their results. Errors leave the nodes as they were. */
export async function runWork(work: Work): Promise<void> {
  const memory = new RunMemory(work, poolOf(work.device));
  const prints = new PrintLog(work.device);
  let plan: Plan | undefined;
  try {
    if (work.steps.length) {
      const dispatches = allocate(work, memory, (kernel, step) => compileProgram(work.device, kernel, step.constexprs));
      const printing = dispatches.map((d, i) => ({
        ...d,
        args: [...d.args, ...prints.arguments(work.steps[i].kernel, work.steps[i].constexprs)],
      }));
      plan = work.device.plan(printing, 0);
      await plan.submit();
      prints.flush();
    }
    memory.settle();
  } finally {
    plan?.free();
    prints.free();
    memory.release();
  }
}
