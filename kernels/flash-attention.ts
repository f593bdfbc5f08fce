/**
 * Attention that never writes its scores to memory (Dao et al. 2022): keys and values pass by in blocks, and a running maximum and sum rescale what
 * was added up before (Milakov & Gimelshein 2018). Query heads may share KV heads (Ainslie et al. 2023).
 */
import type { DTypeObject } from "../src/compiler/language/index.ts";
import { constexpr, dim, f32, kernel, out, ptr, scalar } from "../src/compiler/language/index.ts";
import { operands, type Fusion } from "./fusion.ts";

/**
 * y = epilogue(softmax(scale · q kᵀ) v). q, y: [batch, H, T, D], k, v: [batch, H / G, S, D]; D ≤ BD. With CAUSAL, query t sees keys up to
 * t + S - T: the last query sees them all. A query that sees no key gives 0. Grid: (ceil(T / BM), H, batch).
 */
export const flashAttention = (f: Pick<Fusion, "name" | "params" | "epilogue">, type: DTypeObject, result: DTypeObject) =>
  kernel(
    f.name,
    {
      ...operands(f),
      q: ptr(type),
      k: ptr(type),
      v: ptr(type),
      y: out(result),
      H: dim,
      G: dim,
      T: dim,
      S: dim,
      D: dim,
      scale: scalar(f32),
      CAUSAL: constexpr(false),
      BD: constexpr(64),
      BM: constexpr(16),
      BN: constexpr(32),
    },
    (al, p) => {
      const { q, k, v, y, H, G, T, S, D, scale, CAUSAL, BD, BM, BN, epilogue } = p;
      const head = al.programId(2) * H + al.programId(1);
      const kvHead = al.programId(2) * al.idiv(H, G) + al.idiv(al.programId(1), G);
      const t = al.programId(0) * BM + al.arange(BM);
      const d = al.row(al.arange(BD));
      // Queries beyond the end repeat the last one: they are computed and not stored.
      const row = head * T + al.min(t, T - 1);
      const queries = al.load(q + al.col(row) * D + d, { mask: d < D });

      let acc = al.zeros([BM, BD], al.f32);
      let peak = al.full([BM], -1e30, al.f32);
      let total = al.zeros([BM], al.f32);
      const end = CAUSAL ? al.min(S, al.programId(0) * BM + BM + S - T) : S;
      for (let j = 0; j < end; j += BN) {
        const n = j + al.arange(BN);
        const from = al.col(kvHead * S + n) * D + d;
        const mask = al.col(n) < S && d < D;
        let score = al.dot(queries, al.load(k + from, { mask }), { transposeB: true }) * scale;
        let seen = al.broadcast(al.row(n) < S, [BM, BN]);
        if (CAUSAL) seen = seen && al.row(n) <= al.col(t) + (S - T);
        score = al.where(seen, score, -Infinity);
        const now = al.max(peak, al.max(score, { axis: 1 }));
        const e = al.exp(score - al.col(now));
        const shrink = al.exp(peak - now);
        total = total * shrink + al.sum(e, { axis: 1 });
        acc = al.dot(e, al.cast(al.load(v + from, { mask }), al.f32), acc * al.col(shrink));
        peak = now;
      }
      const result = acc / al.col(al.where(total > 0, total, 1));
      al.store(y + al.col(row) * D + d, epilogue(p, result, al.col(row), d, d < D), { mask: al.col(t) < T && d < D });
    },
    { uses: { epilogue: f.epilogue }, simdgroups: (c) => Math.min(8, Math.max(1, c.BM / 8)) },
  );
