/** Cases of the sampling kernels: rows with every filter and penalty, NaN and infinities among the logits. */
import { interpret } from "../../src/compiler/ir/interpret.ts";
import type { RowSampling } from "../../src/models/api.ts";
import {
  CHUNK,
  listEntries,
  maskedRows,
  maskWords,
  type SampleBuffers,
  sampleBytes,
  samplePartials,
  sampleRows,
  writeSampling,
} from "../sample.ts";
import { TILE } from "../sample-search.ts";
import { cpuKernels } from "../cpu.ts";
import { gpuKernels } from "../gpu/index.ts";
import { type Case, type Data, floats, FUNCTIONS, type KernelCases, type Random } from "./case.ts";

const NONE = { ids: new Int32Array(0), values: new Float32Array(0) };
const GREEDY: RowSampling = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repeatPenalty: 1,
  frequencyPenalty: 0,
  presencePenalty: 0,
  penaltyIds: NONE.ids,
  penaltyCounts: NONE.ids,
  biasIds: NONE.ids,
  biasValues: NONE.values,
  seed: [1, 2],
  counter: 0,
};
const ROWS: readonly (RowSampling | null)[] = [
  GREEDY,
  null,
  { ...GREEDY, temperature: 0.8, topK: 5, counter: 7 },
  { ...GREEDY, temperature: 1, topP: 0.6, minP: 0.02, seed: [3, 4] },
  {
    ...GREEDY,
    temperature: 1.3,
    topK: 40,
    topP: 0.9,
    repeatPenalty: 1.3,
    frequencyPenalty: 0.2,
    presencePenalty: 0.1,
    penaltyIds: Int32Array.of(1, 4),
    penaltyCounts: Int32Array.of(2, 1),
    biasIds: Int32Array.of(3),
    biasValues: Float32Array.of(2),
  },
];

function logitsOf(next: Random, rows: number, V: number): Float32Array {
  const x = floats(next, rows * V, 8);
  // The rows end in what no draw may choose, and in what it must.
  if (V > 8) for (let r = 0; r < rows; r++) x.set([NaN, -Infinity, r % 2 ? Infinity : 3], r * V + V - 3);
  return x;
}

/** Permits a token here and there, in some words none. */
const maskOf = (next: Random, V: number): Int32Array =>
  Int32Array.from(floats(next, maskWords(V), 1), (v) => (v > 0.5 ? 0 : Math.trunc(v * 2 ** 31)) & 0x7fff3bff);

const partials: KernelCases = {
  kernel: samplePartials,
  tolerance: 1e-5,
  why: FUNCTIONS,
  *cases(next, target) {
    const constexprs = (target === "cpu" ? cpuKernels : gpuKernels).sampling.partials;
    for (const [rows, V] of [
      [1, 1],
      [0, 100],
      [2, 101],
      [1, CHUNK + 65],
    ]) {
      const [TILES, CHUNKS] = [Math.ceil(V / TILE), Math.ceil(V / CHUNK)];
      const buffers = { tileKeys: new Int32Array(rows * TILES), partials: new Float32Array(rows * CHUNKS * 2) };
      const args = { logits: logitsOf(next, rows, V), ...buffers, V, TILES, CHUNKS };
      yield { what: `${rows} rows of ${V}`, constexprs, grid: [CHUNKS, rows, 1], args };
    }
  },
};

const rows: KernelCases = {
  kernel: sampleRows,
  tolerance: 1e-5,
  why: FUNCTIONS,
  *cases(next, target) {
    const { sampling } = target === "cpu" ? cpuKernels : gpuKernels;
    for (const V of [1, 9, 150, 1100]) {
      const used = V < 9 ? ROWS.slice(0, 2) : [...ROWS, ...ROWS.map((r) => r && { ...r, mask: maskOf(next, V) })];
      const sizes = sampleBytes(used.length, V, listEntries(used), maskedRows(used));
      const int = (name: keyof SampleBuffers): Int32Array => new Int32Array(sizes[name] / 4);
      const float = (name: keyof SampleBuffers): Float32Array => new Float32Array(sizes[name] / 4);
      const [TILES, CHUNKS] = [Math.ceil(V / TILE), Math.ceil(V / CHUNK)];
      const common = { logits: logitsOf(next, used.length, V), tileKeys: int("tileKeys"), partials: float("partials"), V, TILES, CHUNKS };
      interpret(samplePartials.ir(sampling.partials), [CHUNKS, used.length, 1], common);
      const args = {
        ...common,
        rowInts: int("rowInts"),
        rowFloats: float("rowFloats"),
        listIds: int("listIds"),
        listValues: float("listValues"),
        saved: float("saved"),
        masks: int("masks"),
        candidateIds: int("candidateIds"),
        candidateValues: float("candidateValues"),
        tokens: int("tokens"),
        logSumExp: float("logSumExp"),
      };
      const given = [args.rowInts, args.rowFloats, args.listIds, args.listValues, args.masks];
      const [rowInts, rowFloats, listIds, listValues, masks] = given.map((a) => ({
        bytes: a.byteLength,
        view: () => new Uint8Array(a.buffer),
      }));
      writeSampling(used, { rowInts, rowFloats, listIds, listValues, masks });
      yield {
        what: `${used.length} rows of ${V}`,
        constexprs: sampling.rows,
        grid: [used.length, 1, 1],
        args,
        // Logits are as before; the rest is scratch.
        results: (a) => ({ tokens: a.tokens as Data, logSumExp: a.logSumExp as Data, logits: a.logits as Data }),
      } satisfies Case;
    }
  },
};

export const sampleCases: readonly KernelCases[] = [partials, rows];
