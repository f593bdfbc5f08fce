/** Writing the KV cache and attention over it against a plain float64 reference: both kernel sets, on the interpreter and the CPU. */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { kernelsFor } from "../../kernels/choice.ts";
import { BLOCK_TOKENS, kvBytes, kvStoreDispatch, type KvType } from "../../kernels/kv-cache.ts";
import { createDevice } from "../../src/runtime/index.ts";
import { deviceRunner, error, floats, interpreterRunner, random, range, type Runner, SEED, uniform } from "./runners.ts";

const device = createDevice("cpu", { threads: 2 });
afterAll(() => device.close());
// Kernels that no library holds are compiled when they are first used.
setDefaultTimeout(120_000);

interface Shape {
  D: number;
  G: number;
  KVH: number;
  kv: KvType;
  phase: "prefill" | "decode";
  window: number;
  cap: number;
  sinks?: boolean;
  /** What scores are multiplied by, 1 unless given: with more a row's largest score moves often, and far. */
  sharp?: number;
}

/** Makes keys and values such that a q8_0 cache loses nothing: whole multiples of 1/64, the largest of each group 127 of them. */
function roundToBytes(x: Float32Array, stride: number, kColumn: number, vColumn: number, KVH: number, D: number): void {
  for (let row = 0; row < x.length; row += stride)
    for (const column of [kColumn, vColumn])
      for (let h = 0; h < KVH; h++)
        for (let g = 0; g < D; g += 32) {
          const group = x.subarray(row + column + h * D + g, row + column + h * D + Math.min(D, g + 32));
          for (let i = 0; i < group.length; i++) group[i] = Math.round(Math.max(-1, Math.min(1, group[i])) * 127) / 64;
          group[0] = 127 / 64;
        }
}

/** Whether every case is run: GPU kernels are compiled for each shape, so on the CPU those cases have to do that differ in what is compiled. */
const runners: ["cpu" | "gpu", string, () => Runner, number, boolean][] = [
  ["cpu", "interpreter", interpreterRunner, 40, true],
  ["cpu", "cpu", () => deviceRunner(device), 300, true],
  ["gpu", "interpreter", interpreterRunner, 40, true],
  ["gpu", "cpu", () => deviceRunner(device), 300, false],
];

describe.each(runners)("%s kernels, %s", (name, _, make, most, all) => {
  const run = make();
  const next = random(SEED);
  const set = kernelsFor({ kind: "cpu", isa: "baseline" }, name);
  // GPU kernels multiply queries and probabilities as f16 where the cache is f16.
  const within = (shape: Shape): number => (name === "gpu" && shape.kv !== "f32" ? 4e-3 : 3e-5);

  /** Stores random keys and values of several sequences through kvStore, then attends from their last tokens. */
  function attend(shape: Shape, sequences: { start: number; tokens: number }[]): number {
    const { D, G, KVH, window, cap, kv, phase } = shape;
    const perTile = phase === "prefill" ? set.prefillTokens(G, D) : 1;
    const stride = (G + 2) * KVH * D;
    const [kColumn, vColumn] = [G * KVH * D, (G + 1) * KVH * D];
    const perSequence = sequences.map((s) => Math.ceil((s.start + s.tokens) / BLOCK_TOKENS));
    const blockCount = perSequence.reduce((a, b) => a + b, 0) + 1;
    const order = range(blockCount).sort(() => next() - 0.5);
    const bytes = blockCount * KVH * BLOCK_TOKENS * kvBytes(kv, D);
    const cache = run.buffer(bytes);
    const values = run.buffer(bytes);
    const table = run.buffer(Int32Array.from(order));
    let tableAt = 0;
    let rowAt = 0;
    const rows: { x: Float32Array; start: number; tokens: number }[] = [];
    const tiles: number[] = [];
    const store = (x: Float32Array, slots: number[]): void =>
      run.run([
        kvStoreDispatch(run.ctx, {
          kv,
          x: run.buffer(x),
          slots: run.buffer(Int32Array.from(slots)),
          keys: cache,
          values,
          stride,
          keyColumn: kColumn,
          valueColumn: vColumn,
          KVH,
          D,
          T: slots.length,
          groups: Math.ceil(slots.length / set.blocks.kvStore.tokens),
          blocks: set.blocks.kvStore,
        }),
      ]);
    for (const [i, s] of sequences.entries()) {
      const n = s.start + s.tokens;
      const x = uniform(next, n * stride, 2);
      // f16 caches hold rounded keys and values: the reference gets the same.
      if (kv === "q8_0") roundToBytes(x, stride, kColumn, vColumn, KVH, D);
      if (kv === "f16") for (let j = 0; j < x.length; j++) x[j] = Math.fround(Math.round(x[j] * 256) / 256);
      store(
        x,
        range(n).map((t) => order[tableAt + Math.floor(t / BLOCK_TOKENS)] * BLOCK_TOKENS + (t % BLOCK_TOKENS)),
      );
      for (let t = 0; t < s.tokens; t += perTile) tiles.push(rowAt + t, Math.min(perTile, s.tokens - t), s.start + t, tableAt);
      rows.push({ x, ...s });
      tableAt += perSequence[i];
      rowAt += s.tokens;
    }
    const q = Float32Array.from(rows.flatMap((r) => [...r.x.subarray(r.start * stride)]));
    const sinks = uniform(next, G * KVH, 2);
    const scale = (shape.sharp ?? 1) / Math.sqrt(D);
    const y = run.buffer(rowAt * G * KVH * D * 4);
    const count = tiles.length / 4;
    run.run(
      set.attention(run.ctx, {
        phase,
        D,
        G,
        KVH,
        kv,
        q: run.buffer(q),
        stride,
        column: 0,
        keys: cache,
        values,
        tiles: run.buffer(Int32Array.from(tiles)),
        table,
        sinks: shape.sinks ? run.buffer(sinks) : undefined,
        y,
        count,
        maxCount: count,
        window,
        scale,
        softcap: cap,
      }),
    );
    const want: number[] = [];
    for (const { x, start, tokens } of rows) {
      for (let t = start; t < start + tokens; t++) {
        for (let h = 0; h < G * KVH; h++) {
          const g = Math.floor(h / G);
          const first = window > 0 ? Math.max(0, t - window + 1) : 0;
          const seen = range(t + 1).slice(first);
          const dot = (u: number): number =>
            range(D).reduce((s, d) => s + x[t * stride + h * D + d] * x[u * stride + kColumn + g * D + d], 0) * scale;
          const scores = seen.map((u) => (cap > 0 ? cap * Math.tanh(dot(u) / cap) : dot(u)));
          const all = shape.sinks ? [...scores, sinks[h]] : scores;
          const peak = Math.max(...all);
          const total = all.reduce((s, v) => s + Math.exp(v - peak), 0);
          for (const d of range(D))
            want.push(seen.reduce((s, u, i) => s + (Math.exp(scores[i] - peak) / total) * x[u * stride + vColumn + g * D + d], 0));
        }
      }
    }
    return error(floats(y, want.length), want);
  }

  test("attention: prefill and decode over shuffled blocks, groups, windows, sinks, soft cap", () => {
    const far = most > 100 ? 150 : 66;
    const base = { KVH: 1, window: 0, cap: 0, kv: "f32" } as const;
    const cases: [Parameters<typeof attend>[0], { start: number; tokens: number }[]][] = [
      [{ ...base, D: 16, G: 2, phase: "prefill" }, [{ start: 0, tokens: 5 }]],
      [
        { ...base, D: 16, G: 2, phase: "decode" },
        [
          { start: far, tokens: 1 },
          { start: 0, tokens: 1 },
          { start: 63, tokens: 1 },
        ],
      ],
      [
        { ...base, D: 8, G: 3, KVH: 2, phase: "prefill" },
        [
          { start: 3, tokens: 9 },
          { start: 60, tokens: 7 },
        ],
      ],
      [
        { ...base, D: 16, G: 1, window: 10, phase: "prefill" },
        [
          { start: 0, tokens: 30 },
          { start: 70, tokens: 4 },
        ],
      ],
      [{ ...base, D: 16, G: 7, window: 5, phase: "decode" }, [{ start: far, tokens: 1 }]],
      [{ ...base, D: 24, G: 2, sinks: true, cap: 2, phase: "prefill" }, [{ start: 1, tokens: 14 }]],
      [{ ...base, D: 16, G: 2, kv: "f16", phase: "prefill" }, [{ start: 0, tokens: 13 }]],
      [{ ...base, D: 80, G: 1, kv: "f16", phase: "decode" }, [{ start: 20, tokens: 1 }]],
      [{ ...base, D: 136, G: 9, kv: "f16", phase: "prefill" }, [{ start: 20, tokens: 3 }]],
      [{ ...base, D: 40, G: 2, KVH: 2, kv: "q8_0", phase: "prefill" }, [{ start: 60, tokens: 7 }]],
      [{ ...base, D: 80, G: 3, kv: "q8_0", phase: "decode" }, [{ start: far, tokens: 1 }]],
      [{ ...base, D: 24, G: 2, KVH: 2, kv: "q8_0", sinks: true, window: 9, phase: "prefill" }, [{ start: 3, tokens: 14 }]],
      [{ ...base, D: 48, G: 2, KVH: 2, sinks: true, window: 40, phase: "decode" }, [{ start: far, tokens: 1 }]],
      // Several rounds of blocks, groups of rows whose first sees less than the others, and largest scores that move.
      [{ ...base, D: 16, G: 2, sharp: 6, phase: "prefill" }, [{ start: far, tokens: 66 }]],
      [{ ...base, D: 32, G: 3, kv: "q8_0", sharp: 6, sinks: true, window: 90, phase: "prefill" }, [{ start: far, tokens: 44 }]],
      [{ ...base, D: 16, G: 2, kv: "f16", sharp: 6, phase: "decode" }, [{ start: far, tokens: 1 }]],
    ];
    const compiled = cases.filter(([{ D, sinks }]) => D >= 80 || sinks);
    // Probabilities as f16 are not exact enough for the sharp ones.
    for (const [shape, sequences] of (all ? cases : compiled).filter(([{ sharp }]) => name === "cpu" || !sharp))
      expect({ shape, sequences, ok: attend(shape, sequences) < within(shape) }).toEqual({ shape, sequences, ok: true });
  });
});
