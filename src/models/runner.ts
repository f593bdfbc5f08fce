/** Runs a model: holds its weights, caches and plans, and turns ragged batches into logits and sampled tokens. */
import { kernelsFor } from "../../kernels/choice.ts";
import { BLOCK_TOKENS, kvBytes, type KvType } from "../../kernels/kv-cache.ts";
import { adviseDontNeed } from "../formats/mmap.ts";
import type { ModelFile } from "../formats/weights.ts";
import { tilesName } from "../graph/ops/attention.ts";
import { type LoweredGraph, lowerGraph, type StepSizes } from "../graph/lower.ts";
import type { Tensor } from "../graph/tensor.ts";
import { WeightStore } from "../graph/weights.ts";
import type { Device, DeviceBuffer, Dispatch, Plan } from "../runtime/device.ts";
import { AlloyError } from "../support/errors.ts";
import { pauses } from "../support/pauses.ts";
import type { LoadRunner, ModelRunner, RunnerOptions, SequenceStep, StepResult } from "./api.ts";
import { type BatchArrays, fillBatch, type TileArrays, type TileCounts } from "./batch.ts";
import { type BuiltModel, buildModel } from "./build.ts";
import type { ModelConfig } from "./config.ts";
import { describeModel } from "./registry.ts";
import { ropeFrequencies, writeRopeRow } from "./rope.ts";
import { Sampler } from "./sampler.ts";

/** Plans are built for these numbers of tokens (or output rows) and for the largest batch; a step uses the smallest that fits. */
const CLASSES = [1, 2, 4, 8, 16, 64];

const COLLECT_BYTES = 128 << 20;

/** Memory that is given back at a time where others wait. */
const RELEASE_BYTES = 8 << 20;

/**
 * Tokens after whose embedding a table's mapped pages are given back on a CPU: reading one row maps its neighbours too, 64 KiB at a time. To give
 * them back more often would cost a long prompt a fault a token.
 */
const RELEASE_TOKENS = 2048;

export const loadRunner: LoadRunner = async (file, options) => {
  const description = describeModel(file);
  const kernels = kernelsFor(options.device.properties, options.kernels);
  const weights = new WeightStore(options.device, kernels, file, options.precision === "exact");
  const kvType = options.kvType ?? (options.precision === "exact" ? "f32" : "f16");
  const built = buildModel(description, weights, kvType);
  await prepareWeights(built, weights, options);
  return new Runner(file, description.config, built, weights, kvType, options);
};

/** Loads every weight now rather than in the first step, with pauses if somebody watches the progress or needs the thread. */
async function prepareWeights(built: BuiltModel, weights: WeightStore, options: RunnerOptions): Promise<void> {
  const { onProgress, gentle, packedCache } = options;
  const nodes = [built.embed, built.body, built.head].flatMap((g) => g.graph.nodes);
  const matrices = nodes.flatMap((n) => n.op.matrices?.(n.attrs) ?? []);
  weights.openCache(matrices, packedCache);
  const pause = onProgress || gentle ? pauses() : () => undefined;
  for (const [i, ref] of matrices.entries()) {
    await weights.prepare(ref, pause);
    onProgress?.(i + 1, matrices.length);
  }
  for (const name of nodes.flatMap((n) => n.op.vectors?.(n.attrs) ?? [])) {
    weights.vector(name);
    await pause();
  }
  weights.releaseCopied();
  // Loading leaves garbage that the peak would count; for a small model a collection costs more than it frees, and others would wait for it.
  if (weights.ownedBytes > COLLECT_BYTES && !gentle) {
    Bun.gc(true);
    Bun.shrink();
  }
}

export class Runner implements ModelRunner {
  readonly architecture: string;
  readonly vocabSize: number;
  readonly contextLength: number;
  readonly maxBatchTokens: number;
  readonly maxSequences: number;
  readonly blockTokens = BLOCK_TOKENS;
  readonly blockCount: number;
  readonly #device: Device;
  readonly #built: BuiltModel;
  readonly #weights: WeightStore;
  readonly #buffers = new Map<string, DeviceBuffer>();
  readonly #arrays: BatchArrays;
  /** Keys and values of every layer, block after block. */
  readonly #caches: DeviceBuffer[] = [];
  readonly #ropes: { cos: Float32Array; sin: Float32Array }[];
  #embed: LoweredGraph | undefined;
  /** Tokens embedded since the table's pages were given back. */
  #embedded = 0;
  readonly #bodies = new Map<number, LoweredGraph>();
  readonly #heads = new Map<number, { plan: LoweredGraph; logits: DeviceBuffer }>();
  readonly #sampler: Sampler;
  #arena?: DeviceBuffer;
  #scratch?: DeviceBuffer;
  #owned = 0;
  #logits?: DeviceBuffer;
  #sizes?: StepSizes;
  #writesPacked: boolean;
  /** A step is under way. */
  #busy = false;

  constructor(file: ModelFile, config: ModelConfig, built: BuiltModel, weights: WeightStore, kvType: KvType, options: RunnerOptions) {
    this.#device = options.device;
    this.#built = built;
    this.#weights = weights;
    this.#writesPacked = options.writePacked ?? true;
    this.architecture = config.architecture;
    this.vocabSize = config.vocab;
    this.contextLength = options.contextLength;
    this.maxBatchTokens = options.maxBatchTokens ?? weights.kernels.batchTokens;
    this.maxSequences = Math.min(options.maxSequences ?? 64, this.maxBatchTokens);
    this.blockCount = Math.ceil(options.kvTokens / BLOCK_TOKENS);
    if (config.learnedPositions && this.contextLength > config.contextLength)
      throw new AlloyError(
        "bad_argument",
        `${file.path}: a context of ${this.contextLength} tokens is more than the ${config.contextLength} learned positions`,
        {
          hint: `Ask for at most ${config.contextLength}.`,
        },
      );

    const T = this.maxBatchTokens;
    const int = (name: string, count: number): Int32Array => {
      const b = this.#allocate(name, count * 4);
      return new Int32Array(b.view().buffer, b.view().byteOffset, count);
    };
    const float = (name: string, count: number): Float32Array => {
      const v = this.#allocate(name, Math.max(4, count * 4)).view();
      return new Float32Array(v.buffer, v.byteOffset, count);
    };
    const groups = new Set(config.layers.map((l) => weights.kernels.prefillTokens(l.mixer.heads / l.mixer.kvHeads, l.mixer.headDim)));
    const tiles = (rows: "T" | "R"): TileArrays => ({
      decode: int(tilesName(rows), 4 * T),
      prefill: new Map([...groups].map((n) => [n, int(tilesName(rows, n), 4 * T)])),
    });
    const perSequence = Math.ceil(this.contextLength / BLOCK_TOKENS);
    this.#arrays = {
      tokens: int("tokens", T),
      positions: int("positions", T),
      slots: int("slots", T),
      blockTable: int("blockTable", Math.min(this.maxSequences * perSequence, this.blockCount + this.maxSequences * 4096)),
      tiles: tiles("T"),
      rowTiles: tiles("R"),
      rows: int("rows", T),
    };
    this.#ropes = built.ropes.map((r, i) => ({
      cos: float(`rope.${i}.cos`, (T * r.dim) / 2),
      sin: float(`rope.${i}.sin`, (T * r.dim) / 2),
    }));
    float("rope.none", 1);
    this.#allocate("embedded", T * config.hidden * 4);
    this.#allocate("hidden", T * config.hidden * 4);
    config.layers.forEach(({ mixer }, i) => {
      const bytes = this.blockCount * BLOCK_TOKENS * mixer.kvHeads * kvBytes(kvType, mixer.headDim);
      this.#caches.push(this.#allocate(`keys.${i}`, bytes), this.#allocate(`values.${i}`, bytes));
    });
    this.#sampler = new Sampler(this.#device, weights.kernels, config.vocab);
  }

  #allocate(name: string, bytes: number): DeviceBuffer {
    const b = this.#device.allocate(bytes);
    this.#owned += bytes;
    this.#buffers.set(name, b);
    return b;
  }

  get memoryBytes(): number {
    return this.#owned + this.#weights.ownedBytes + this.#sampler.bytes;
  }

  async step(sequences: readonly SequenceStep[]): Promise<StepResult> {
    this.#check(sequences);
    this.#busy = true;
    try {
      const result = await this.#step(sequences);
      // Nobody waits for the weights' way to the disk: it begins when the first answer has.
      if (this.#writesPacked && result.tokens.length > 0) {
        this.#writesPacked = false;
        void this.#weights.writeCache(() => this.#busy);
      }
      return result;
    } finally {
      this.#busy = false;
    }
  }

  async #step(sequences: readonly SequenceStep[]): Promise<StepResult> {
    const counts = fillBatch(sequences, BLOCK_TOKENS, this.#arrays);
    this.#fillRopes(sequences);
    const sizes = { T: counts.T, R: counts.R, ...tileSizes("T", counts.tiles), ...tileSizes("R", counts.rowTiles) };
    this.#sizes = sizes;
    // All plans are made before the first one runs: what cannot be made leaves nothing running.
    const embed = (this.#embed ??= this.#lower("embed", { T: this.maxBatchTokens, R: 0 }, this.#buffers.get("embedded")!));
    const body = this.#body(counts.T);
    const head = counts.R > 0 ? this.#head(counts.R) : undefined;
    // Plans run in the order in which they are submitted. Waiting for each would cost a GPU a way to the host and back.
    const running = [embed.run({ T: counts.T, R: 0 }).then(() => this.#releaseTable(counts.T))];
    running.push(body.run(sizes));
    if (!head) {
      await allOver(running);
      return { tokens: new Int32Array(0), logSumExp: new Float32Array(0), logits: noLogits };
    }
    running.push(head.plan.run(sizes));
    this.#logits = head.logits;
    const rows = sequences.flatMap((s) =>
      s.outputs === "none" ? [] : s.outputs === "last" ? [s.sampling] : Array.from(s.tokens, () => null),
    );
    const sampled = this.#sampler.sample(head.logits, rows);
    await allOver([...running, sampled]);
    const { tokens, logSumExp } = await sampled;
    return {
      tokens,
      logSumExp,
      logits: (row) => {
        if (this.#logits !== head.logits || row < 0 || row >= counts.R) throw new AlloyError("internal", `no logits for row ${row}`);
        const v = head.logits.view(row * this.vocabSize * 4, this.vocabSize * 4);
        return new Float32Array(v.buffer, v.byteOffset, this.vocabSize);
      },
    };
  }

  copyBlock(from: number, to: number): void {
    for (const cache of this.#caches) {
      const bytes = cache.bytes / this.blockCount;
      cache.view(to * bytes, bytes).set(cache.view(from * bytes, bytes));
    }
  }

  #check(sequences: readonly SequenceStep[]): void {
    const total = sequences.reduce((n, s) => n + s.tokens.length, 0);
    const bad = (what: string): never => {
      throw new AlloyError("internal", `step: ${what}`);
    };
    if (sequences.length === 0 || total === 0) bad("empty batch");
    if (total > this.maxBatchTokens) bad(`${total} tokens, at most ${this.maxBatchTokens}`);
    if (sequences.length > this.maxSequences) bad(`${sequences.length} sequences, at most ${this.maxSequences}`);
    for (const s of sequences) {
      const end = s.start + s.tokens.length;
      if (s.tokens.length === 0) bad("a sequence without tokens");
      if (end > this.contextLength) bad(`position ${end} is beyond the context of ${this.contextLength}`);
      if (s.blocks.length * BLOCK_TOKENS < end) bad(`${s.blocks.length} blocks do not hold ${end} tokens`);
      for (const t of s.tokens) if (t < 0 || t >= this.vocabSize) bad(`token id ${t} is outside the vocabulary of ${this.vocabSize}`);
      for (const b of s.blocks) if (b < 0 || b >= this.blockCount) bad(`block ${b} of ${this.blockCount}`);
    }
  }

  #fillRopes(sequences: readonly SequenceStep[]): void {
    this.#built.ropes.forEach((rope, i) => {
      const { cos, sin } = this.#ropes[i];
      let row = 0;
      for (const s of sequences) {
        const f = ropeFrequencies(rope, s.start + s.tokens.length);
        for (let j = 0; j < s.tokens.length; j++) writeRopeRow(f, s.start + j, row++, cos, sin);
      }
    });
  }

  /** Arena and scratch are shared by all plans (they never run at the same time) and grow as larger classes appear. */
  #lower(which: "embed" | "body" | "head", max: { T: number; R: number }, result: DeviceBuffer): LoweredGraph {
    const { graph, result: tensor } = this.#built[which];
    const results: [Tensor, DeviceBuffer][] = tensor ? [[tensor, result]] : [];
    return lowerGraph(graph, {
      device: this.#device,
      weights: this.#weights,
      max,
      buffers: this.#buffers,
      results: new Map(results),
      arena: (bytes) => (this.#arena = this.#grow(this.#arena, bytes)),
      scratch: (bytes) => (this.#scratch = this.#grow(this.#scratch, bytes)),
    });
  }

  // Plans made earlier keep the smaller buffer that they were built with.
  #grow(buffer: DeviceBuffer | undefined, bytes: number): DeviceBuffer {
    if (buffer && buffer.bytes >= bytes) return buffer;
    return this.#allocate(`work.${this.#buffers.size}`, bytes);
  }

  #class(n: number): number {
    return Math.min(CLASSES.find((c) => c >= n) ?? this.maxBatchTokens, this.maxBatchTokens);
  }

  #releaseTable(tokens: number): void {
    this.#embedded += tokens;
    if (this.#embedded < RELEASE_TOKENS) return;
    this.#embedded = 0;
    this.#weights.releaseTables();
  }

  #body(tokens: number): LoweredGraph {
    const T = this.#class(tokens);
    let plan = this.#bodies.get(T);
    if (!plan) this.#bodies.set(T, (plan = this.#lower("body", { T, R: 1 }, this.#buffers.get("hidden")!)));
    return plan;
  }

  #head(rows: number): { plan: LoweredGraph; logits: DeviceBuffer } {
    const R = this.#class(rows);
    let head = this.#heads.get(R);
    if (!head) {
      const logits = this.#allocate(`logits.${R}`, R * this.vocabSize * 4);
      this.#heads.set(R, (head = { plan: this.#lower("head", { T: this.maxBatchTokens, R }, logits), logits }));
    }
    return head;
  }

  /** Runs the last step again, its embedding aside, timing every dispatch: for `bench/`. */
  profile(): (ReturnType<Plan["profile"]>[number] & Pick<Dispatch, "grid" | "parallel">)[] {
    const sizes = this.#sizes;
    if (!sizes) throw new AlloyError("internal", "profile: no step has run");
    const body = this.#body(sizes.T);
    const head = sizes.R > 0 ? this.#head(sizes.R) : undefined;
    const parts = [
      { dispatches: body.dispatches, times: body.profile(sizes) },
      ...(head ? [{ dispatches: head.plan.dispatches, times: head.plan.profile(sizes) }, this.#sampler.profile(head.logits)] : []),
    ];
    return parts.flatMap(({ dispatches, times }) =>
      times.map((t, i) => ({ ...t, grid: dispatches[i].grid, parallel: dispatches[i].parallel })),
    );
  }

  /** As `close`, in pieces with pauses between them: the system takes a millisecond for a few megabytes. */
  async closeGently(): Promise<void> {
    const pause = pauses();
    this.#weights.stopCache();
    const owned = this.#device.properties.kind === "cpu" ? [...this.#buffers.values(), ...this.#weights.allocated] : [];
    for (const { address, bytes } of owned) {
      for (let at = 0; at < bytes; at += RELEASE_BYTES) {
        adviseDontNeed(address + at, Math.min(RELEASE_BYTES, bytes - at));
        await pause();
      }
    }
    this.close();
  }

  close(): void {
    for (const p of [...(this.#embed ? [this.#embed] : []), ...this.#bodies.values()]) p.free();
    for (const h of this.#heads.values()) h.plan.free();
    for (const b of this.#buffers.values()) b.free();
    this.#sampler.close();
    this.#weights.free();
  }
}

/** Counts under the names of their tiles: sizes of a step. */
const tileSizes = (rows: "T" | "R", { decode, prefill }: TileCounts): Record<string, number> =>
  Object.fromEntries([[tilesName(rows), decode], ...[...prefill].map(([n, count]) => [tilesName(rows, n), count] as const)]);

const noLogits = (row: number): Float32Array => {
  throw new AlloyError("internal", `no logits for row ${row}: the step had no output rows`);
};

/** Waits until all are over, then throws what failed first: nothing still runs on memory that the caller may free. */
async function allOver(promises: readonly Promise<unknown>[]): Promise<void> {
  for (const r of await Promise.allSettled(promises)) if (r.status === "rejected") throw r.reason;
}
