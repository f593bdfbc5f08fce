/**
 * Rotary position embedding (Su et al. 2021) on heads inside a wider row, optionally after an RMSNorm of each head (Qwen3's q/k norm).
 * Cosines and sines come as tables, so that every scaling rule (linear, llama3, YaRN, longrope) is the same kernel. Grid: (heads, T).
 */
import type { Instance } from "./instances.ts";
import { constexpr, dim, f32, kernel, ptr, scalar } from "../src/compiler/language/index.ts";

const BLOCK = 16;

/**
 * In place on x[t, column + h·D + i]. Pairs are (i, i + R/2) when INTERLEAVED is false ("NeoX", Hugging Face) and (2i, 2i+1) when true
 * (original LLaMA). cos, sin: [T, R/2] float32; R rotary dimensions of D; w: [D] norm weights, used when NORM.
 */
export const ropeHeads = kernel(
  "rope_heads",
  {
    x: ptr(f32),
    cos: ptr(f32),
    sin: ptr(f32),
    w: ptr(f32),
    stride: dim,
    column: dim,
    D: dim,
    R: dim,
    eps: scalar(f32),
    INTERLEAVED: constexpr(false),
    NORM: constexpr(false),
    BLOCK: constexpr(BLOCK),
  },
  (al, { x, cos, sin, w, stride, column, D, R, eps, INTERLEAVED, NORM, BLOCK }) => {
    const t = al.programId(1);
    const head = t * stride + column + al.programId(0) * D;
    const half = al.idiv(R, 2);
    let scale = al.cast(1, al.f32);
    if (NORM) {
      let squares = al.zeros([BLOCK], al.f32);
      for (let i = 0; i < D; i += BLOCK) {
        const k = i + al.arange(BLOCK);
        const v = al.load(x + head + k, { mask: k < D });
        squares = al.fma(v, v, squares);
      }
      scale = 1 / al.sqrt(al.sum(squares) / D + eps);
    }
    for (let i = 0; i < half; i += BLOCK) {
      const p = i + al.arange(BLOCK);
      const inside = p < half;
      const first = INTERLEAVED ? p * 2 : p;
      const second = INTERLEAVED ? p * 2 + 1 : p + half;
      let a = al.load(x + head + first, { mask: inside });
      let b = al.load(x + head + second, { mask: inside });
      if (NORM) {
        a = a * scale * al.load(w + first, { mask: inside });
        b = b * scale * al.load(w + second, { mask: inside });
      }
      const c = al.load(cos + t * half + p, { mask: inside });
      const s = al.load(sin + t * half + p, { mask: inside });
      al.store(x + head + first, a * c - b * s, { mask: inside });
      al.store(x + head + second, b * c + a * s, { mask: inside });
    }
    if (NORM) {
      for (let i = R; i < D; i += BLOCK) {
        const k = i + al.arange(BLOCK);
        al.store(x + head + k, al.load(x + head + k, { mask: k < D }) * scale * al.load(w + k, { mask: k < D }), { mask: k < D });
      }
    }
  },
  { distinct: true },
);

export const instances: Instance[] = [false, true].flatMap((INTERLEAVED) =>
  [false, true].map((NORM) => ({ kernel: ropeHeads, constexprs: { INTERLEAVED, NORM, BLOCK } })),
);
