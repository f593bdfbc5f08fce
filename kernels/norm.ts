/** RMSNorm (Zhang & Sennrich 2019) and LayerNorm (Ba et al. 2016) over rows of float32. Grid: (1, rows). */
import type { Instance } from "./instances.ts";
import { simdgroups } from "./elementwise.ts";
import { constexpr, dim, f32, kernel, out, ptr, scalar } from "../src/compiler/language/index.ts";

const BLOCK = 64;

/** y[r, :] = x[r, :] / sqrt(mean(x²) + eps) · w. x, y: [rows, D]; w: [D]. */
export const rmsNorm = kernel(
  "rms_norm",
  { x: ptr(f32), w: ptr(f32), y: out(f32), D: dim, eps: scalar(f32), BLOCK: constexpr(BLOCK) },
  (al, { x, w, y, D, eps, BLOCK }) => {
    const row = al.programId(1) * D;
    let squares = al.zeros([BLOCK], al.f32);
    for (let i = 0; i < D; i += BLOCK) {
      const k = i + al.arange(BLOCK);
      const v = al.load(x + row + k, { mask: k < D });
      squares = al.fma(v, v, squares);
    }
    const scale = 1 / al.sqrt(al.sum(squares) / D + eps);
    for (let i = 0; i < D; i += BLOCK) {
      const k = i + al.arange(BLOCK);
      const v = al.load(x + row + k, { mask: k < D });
      al.store(y + row + k, v * scale * al.load(w + k, { mask: k < D }), { mask: k < D });
    }
  },
  { simdgroups, distinct: true },
);

/** y[r, :] = (x[r, :] - mean) / sqrt(var + eps) · w + b. x, y: [rows, D]; w, b: [D]. The variance is the biased one. */
export const layerNorm = kernel(
  "layer_norm",
  { x: ptr(f32), w: ptr(f32), b: ptr(f32), y: out(f32), D: dim, eps: scalar(f32), BLOCK: constexpr(BLOCK) },
  (al, { x, w, b, y, D, eps, BLOCK }) => {
    const row = al.programId(1) * D;
    let total = al.zeros([BLOCK], al.f32);
    for (let i = 0; i < D; i += BLOCK) {
      const k = i + al.arange(BLOCK);
      total = total + al.load(x + row + k, { mask: k < D });
    }
    const mean = al.sum(total) / D;
    let squares = al.zeros([BLOCK], al.f32);
    for (let i = 0; i < D; i += BLOCK) {
      const k = i + al.arange(BLOCK);
      const v = al.load(x + row + k, { mask: k < D, other: mean }) - mean;
      squares = al.fma(v, v, squares);
    }
    const scale = 1 / al.sqrt(al.sum(squares) / D + eps);
    for (let i = 0; i < D; i += BLOCK) {
      const k = i + al.arange(BLOCK);
      const v = (al.load(x + row + k, { mask: k < D }) - mean) * scale;
      al.store(y + row + k, al.fma(v, al.load(w + k, { mask: k < D }), al.load(b + k, { mask: k < D })), { mask: k < D });
    }
  },
  { simdgroups, distinct: true },
);

export const instances: Instance[] = [
  { kernel: rmsNorm, constexprs: { BLOCK } },
  { kernel: layerNorm, constexprs: { BLOCK } },
];
