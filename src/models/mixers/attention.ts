/** The attention mixer: projections, optional q/k norm, rotary positions, paged attention, output projection. */
import { applyLinear, type LinearPart } from "../../graph/ops/linear.ts";
import { attention, storeKv, tilesName } from "../../graph/ops/attention.ts";
import { gather } from "../../graph/ops/elementwise.ts";
import { rope } from "../../graph/ops/rope.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { AlloyError } from "../../support/errors.ts";
import { type BuildContext, part } from "../build-context.ts";
import type { AttentionConfig, LayerNames } from "../config.ts";

/** Where the heads of a projection's row begin; what it has none of is undefined. */
interface Columns {
  q?: number;
  k?: number;
  v?: number;
}

/** x [T, hidden] (normed) -> what attention adds to the residual stream, or the new stream when `residual` is given. */
export function buildAttention(
  b: BuildContext,
  layer: number,
  c: AttentionConfig,
  names: LayerNames,
  x: Tensor,
  residual?: Tensor,
): Tensor {
  const { rows, columns } = project(b, c, names, x, "qkv");
  store(b, layer, c, rows, columns);
  return attend(b, layer, c, names, rows, columns, residual);
}

/** The half of it that the rest of the sequence needs: keys and values of x [T, hidden] go to the cache. */
export function buildKeysAndValues(b: BuildContext, layer: number, c: AttentionConfig, names: LayerNames, x: Tensor): void {
  const { rows, columns } = project(b, c, names, x, "kv");
  store(b, layer, c, rows, columns);
}

/** The other half, for rows x [R, hidden] whose keys and values are in the cache. */
export function buildQueries(b: BuildContext, layer: number, c: AttentionConfig, names: LayerNames, x: Tensor, residual?: Tensor): Tensor {
  const { rows, columns } = project(b, c, names, x, "q");
  return attend(b, layer, c, names, rows, columns, residual);
}

/** Projections side by side, normed and rotated. A fused projection gives all three, wanted or not. */
function project(
  b: BuildContext,
  c: AttentionConfig,
  names: LayerNames,
  x: Tensor,
  what: "qkv" | "q" | "kv",
): { rows: Tensor; columns: Columns } {
  const { g, weights } = b;
  const qSize = c.heads * c.headDim;
  const kvSize = c.kvHeads * c.headDim;
  const parts: LinearPart[] = [];
  const columns: Columns = {};
  if (names.qkv) {
    parts.push(part(names.qkv, qSize + 2 * kvSize));
    Object.assign(columns, { q: 0, k: qSize, v: qSize + kvSize });
  } else if (names.q && names.k && names.v) {
    if (what !== "kv") parts.push(part(names.q, qSize));
    if (what !== "q") parts.push(part(names.k, kvSize), part(names.v, kvSize));
    const k = what === "kv" ? 0 : qSize;
    Object.assign(columns, what === "q" ? { q: 0 } : what === "kv" ? { k, v: k + kvSize } : { q: 0, k, v: k + kvSize });
  } else throw new AlloyError("unsupported_model", `${b.config.architecture}: a layer has neither q, k, v nor a fused qkv projection`);

  let rows = applyLinear(g, weights, x, parts, { label: what });
  const heads = [
    { column: what === "kv" ? undefined : columns.q, heads: c.heads, norm: names.qNorm, label: "rope_q" },
    { column: what === "q" ? undefined : columns.k, heads: c.kvHeads, norm: names.kNorm, label: "rope_k" },
  ];
  for (const { column, label, ...h } of heads) {
    if (column === undefined || (!c.rope && !h.norm)) continue;
    const R = c.rope?.dim ?? 0;
    const table = (of: "cos" | "sin"): Tensor => {
      const all = g.input(b.ropeTable(c.rope, of), ["T", R / 2]);
      return R > 0 && x.shape[0] === "R" ? g.apply(gather, [all, g.input("rows", ["R"], "i32")], {}, `rope_${of}`) : all;
    };
    const attrs = { ...h, column, headDim: c.headDim, rotaryDim: R, interleaved: c.interleaved, eps: b.config.norm.eps };
    rows = g.apply(rope, [rows, table("cos"), table("sin")], attrs, label);
  }
  return { rows, columns };
}

function store(b: BuildContext, layer: number, c: AttentionConfig, rows: Tensor, { k, v }: Columns): void {
  const { g, kvType: kv } = b;
  const attrs = { ...cache(layer), kv, kvHeads: c.kvHeads, headDim: c.headDim, kColumn: k!, vColumn: v! };
  g.apply(storeKv, [rows, g.input("slots", ["T"], "i32")], attrs, "store_kv");
}

function attend(
  b: BuildContext,
  layer: number,
  c: AttentionConfig,
  names: LayerNames,
  rows: Tensor,
  columns: Columns,
  residual?: Tensor,
): Tensor {
  const { g, weights, kvType: kv } = b;
  const dim = rows.shape[0] === "R" ? "R" : "T";
  const tokens = weights.kernels.prefillTokens(c.heads / c.kvHeads, c.headDim);
  const tiles = (name: string): Tensor => g.input(name, [dim, 4], "i32");
  const inputs = [rows, g.input("blockTable", [1], "i32"), tiles(tilesName(dim, tokens)), tiles(tilesName(dim))];
  const { heads, kvHeads, headDim, scale, window, softcap } = c;
  const attrs = { ...cache(layer), kv, heads, kvHeads, headDim, qColumn: columns.q!, scale, window, sinks: names.sinks, softcap };
  return applyLinear(g, weights, g.apply(attention, inputs, attrs), [part(names.o, b.config.hidden)], { residual, label: "o" });
}

const cache = (layer: number) => ({ keys: `keys.${layer}`, values: `values.${layer}` });
