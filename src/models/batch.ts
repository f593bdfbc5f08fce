/** Host side of a ragged batch: from sequences to the index arrays that the kernels read. */
import type { SequenceStep } from "./api.ts";

/** Work of attention, int32 [tiles][4]: first row, rows, position of the first, where the sequence's blocks begin in the table. */
export interface TileArrays {
  /** Of one token each. */
  decode: Int32Array;
  /** By most tokens per tile. */
  prefill: ReadonlyMap<number, Int32Array>;
}

export interface TileCounts {
  decode: number;
  prefill: Map<number, number>;
}

/** Index arrays in device memory that one step fills. */
export interface BatchArrays {
  tokens: Int32Array;
  positions: Int32Array;
  /** block · blockTokens + position in block, per token. */
  slots: Int32Array;
  blockTable: Int32Array;
  /** Of all tokens, and of those with an output. */
  tiles: TileArrays;
  rowTiles: TileArrays;
  /** Tokens with an output. */
  rows: Int32Array;
}

export interface BatchCounts {
  T: number;
  R: number;
  tiles: TileCounts;
  rowTiles: TileCounts;
}

/** Fills the arrays; the caller has checked that everything fits. */
export function fillBatch(sequences: readonly SequenceStep[], blockTokens: number, to: BatchArrays): BatchCounts {
  const counts: BatchCounts = { T: 0, R: 0, tiles: noTiles(to.tiles), rowTiles: noTiles(to.rowTiles) };
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
    addTiles(to.tiles, counts.tiles, first, n, s.start, table);
    const outputs = s.outputs === "all" ? n : s.outputs === "last" ? 1 : 0;
    addTiles(to.rowTiles, counts.rowTiles, counts.R, outputs, s.start + n - outputs, table);
    for (let i = n - outputs; i < n; i++) to.rows[counts.R++] = first + i;
    counts.T += n;
    table += blocks;
  }
  return counts;
}

const noTiles = (of: TileArrays): TileCounts => ({ decode: 0, prefill: new Map([...of.prefill.keys()].map((k) => [k, 0])) });

function addTiles(to: TileArrays, counts: TileCounts, first: number, n: number, position: number, table: number): void {
  if (n === 1) to.decode.set([first, 1, position, table], 4 * counts.decode++);
  if (n <= 1) return;
  for (const [tokens, tiles] of to.prefill) {
    let at = counts.prefill.get(tokens)!;
    for (let i = 0; i < n; i += tokens) tiles.set([first + i, Math.min(tokens, n - i), position + i, table], 4 * at++);
    counts.prefill.set(tokens, at);
  }
}
