/** Host side of a ragged batch: from sequences to the index arrays that the kernels read. */
import type { SequenceStep } from "./api.ts";

/** Index arrays in device memory that one step fills. */
export interface BatchArrays {
  tokens: Int32Array;
  positions: Int32Array;
  /** block · blockTokens + position in block, per token. */
  slots: Int32Array;
  blockTable: Int32Array;
  decodeTiles: Int32Array;
  /** By tokens per tile. */
  prefillTiles: ReadonlyMap<number, Int32Array>;
  rows: Int32Array;
}

export interface BatchCounts {
  T: number;
  R: number;
  decodeTiles: number;
  prefillTiles: Map<number, number>;
}

/** Fills the arrays; the caller has checked that everything fits. */
export function fillBatch(sequences: readonly SequenceStep[], blockTokens: number, to: BatchArrays): BatchCounts {
  const counts: BatchCounts = { T: 0, R: 0, decodeTiles: 0, prefillTiles: new Map([...to.prefillTiles.keys()].map((k) => [k, 0])) };
  let table = 0;
  for (const s of sequences) {
    const n = s.tokens.length;
    const first = counts.T;
    const blocks = Math.ceil((s.start + n) / blockTokens);
    to.blockTable.set(s.blocks.subarray(0, blocks), table);
    to.tokens.set(s.tokens, first);
    for (let i = 0; i < n; i++) {
      const position = s.start + i;
      to.positions[first + i] = position;
      to.slots[first + i] = s.blocks[Math.floor(position / blockTokens)] * blockTokens + (position % blockTokens);
    }
    if (n === 1) {
      to.decodeTiles.set([first, 1, s.start, table], 4 * counts.decodeTiles++);
    } else {
      for (const [tokens, tiles] of to.prefillTiles) {
        let at = counts.prefillTiles.get(tokens)!;
        for (let i = 0; i < n; i += tokens) tiles.set([first + i, Math.min(tokens, n - i), s.start + i, table], 4 * at++);
        counts.prefillTiles.set(tokens, at);
      }
    }
    if (s.outputs === "last") to.rows[counts.R++] = first + n - 1;
    if (s.outputs === "all") for (let i = 0; i < n; i++) to.rows[counts.R++] = first + i;
    counts.T += n;
    table += blocks;
  }
  return counts;
}
