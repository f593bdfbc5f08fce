/** Elementwise kernels of a transformer step. All float32; grid: (ceil(columns / BLOCK), rows). */
import type { Instance } from "./instances.ts";
import { constexpr, dim, f32, fn, i32, kernel, ptr, scalar } from "../src/compiler/language/index.ts";

const BLOCK = 256;

/** On a GPU a thread has four elements. */
export const simdgroups = (c: { BLOCK: number }): number => Math.min(32, Math.max(1, Math.ceil(c.BLOCK / 128)));

/** Activation by compile-time name: silu, gelu (exact, erf), gelu_tanh (the tanh approximation), relu, relu2. */
export const activate = fn((al, kind, v) => {
  if (kind === "silu") return v / (1 + al.exp(-v));
  if (kind === "gelu") return 0.5 * v * (1 + al.erf(v * 0.7071067811865476));
  if (kind === "gelu_tanh") return 0.5 * v * (1 + al.tanh(0.7978845608028654 * (v + 0.044715 * v * v * v)));
  const r = al.max(v, 0);
  return kind === "relu" ? r : r * r;
});

/** y[t, i] = act(x[t, gate + i]) · x[t, up + i]: SwiGLU and GeGLU (Shazeer 2020). x rows have `stride` elements, y rows N. */
export const gatedActivation = kernel(
  "gated_activation",
  { x: ptr(f32), y: ptr(f32), stride: dim, gate: dim, up: dim, N: dim, ACT: constexpr("silu"), BLOCK: constexpr(BLOCK) },
  (al, { x, y, stride, gate, up, N, ACT, BLOCK, activate }) => {
    const t = al.programId(1);
    const k = al.programId(0) * BLOCK + al.arange(BLOCK);
    const g = al.load(x + t * stride + gate + k, { mask: k < N });
    const u = al.load(x + t * stride + up + k, { mask: k < N });
    al.prefetch(x + t * stride + gate + k + 4 * BLOCK);
    al.prefetch(x + t * stride + up + k + 4 * BLOCK);
    al.store(y + t * N + k, activate(ACT, g) * u, { mask: k < N });
  },
  { uses: { activate }, simdgroups },
);

/** y[t, i] = act(x[t, i]): the plain two-layer MLP. */
export const activation = kernel(
  "activation",
  { x: ptr(f32), y: ptr(f32), N: dim, ACT: constexpr("gelu_tanh"), BLOCK: constexpr(BLOCK) },
  (al, { x, y, N, ACT, BLOCK, activate }) => {
    const k = al.programId(0) * BLOCK + al.arange(BLOCK);
    const row = al.programId(1) * N;
    al.store(y + row + k, activate(ACT, al.load(x + row + k, { mask: k < N })), { mask: k < N });
  },
  { uses: { activate }, simdgroups },
);

/** y[t, i] = x[t, i] + scale · z[t, i]. y may be x: the residual stream. */
export const addScaled = kernel(
  "add_scaled",
  { x: ptr(f32), z: ptr(f32), y: ptr(f32), N: dim, scale: scalar(f32), BLOCK: constexpr(BLOCK) },
  (al, { x, z, y, N, scale, BLOCK }) => {
    const k = al.programId(0) * BLOCK + al.arange(BLOCK);
    const row = al.programId(1) * N;
    const sum = al.fma(al.load(z + row + k, { mask: k < N }), scale, al.load(x + row + k, { mask: k < N }));
    al.store(y + row + k, sum, { mask: k < N });
  },
  { simdgroups },
);

/** y[t, i] = scale · x[t, i], soft-capped to cap · tanh(· / cap) when SOFTCAP. */
export const scaleRows = kernel(
  "scale_rows",
  { x: ptr(f32), y: ptr(f32), N: dim, scale: scalar(f32), cap: scalar(f32), SOFTCAP: constexpr(false), BLOCK: constexpr(BLOCK) },
  (al, { x, y, N, scale, cap, SOFTCAP, BLOCK }) => {
    const k = al.programId(0) * BLOCK + al.arange(BLOCK);
    const row = al.programId(1) * N;
    let v = al.load(x + row + k, { mask: k < N }) * scale;
    if (SOFTCAP) v = cap * al.tanh(v / cap);
    al.store(y + row + k, v, { mask: k < N });
  },
  { simdgroups },
);

/** y[r, i] = x[rows[r], i]: the rows of a batch that need logits. */
export const gatherRows = kernel(
  "gather_rows",
  { x: ptr(f32), rows: ptr(i32), y: ptr(f32), N: dim, BLOCK: constexpr(BLOCK) },
  (al, { x, rows, y, N, BLOCK }) => {
    const k = al.programId(0) * BLOCK + al.arange(BLOCK);
    const r = al.programId(1);
    al.store(y + r * N + k, al.load(x + al.load(rows + r) * N + k, { mask: k < N }), { mask: k < N });
  },
  { simdgroups },
);

/** y[r, :] = softmax(x[r, :]) with the row's maximum subtracted first. Grid: (1, rows). */
export const softmaxRows = kernel(
  "softmax_rows",
  { x: ptr(f32), y: ptr(f32), N: dim, BLOCK: constexpr(64) },
  (al, { x, y, N, BLOCK }) => {
    const row = al.programId(1) * N;
    let top = al.full([BLOCK], -Infinity, al.f32);
    for (let i = 0; i < N; i += BLOCK) {
      const k = i + al.arange(BLOCK);
      top = al.max(top, al.load(x + row + k, { mask: k < N, other: -Infinity }));
    }
    const peak = al.max(top);
    let total = al.zeros([BLOCK], al.f32);
    for (let i = 0; i < N; i += BLOCK) {
      const k = i + al.arange(BLOCK);
      total = total + al.exp(al.load(x + row + k, { mask: k < N, other: -Infinity }) - peak);
    }
    const scale = 1 / al.sum(total);
    for (let i = 0; i < N; i += BLOCK) {
      const k = i + al.arange(BLOCK);
      al.store(y + row + k, al.exp(al.load(x + row + k, { mask: k < N }) - peak) * scale, { mask: k < N });
    }
  },
  { simdgroups },
);

export const ACTIVATIONS = ["silu", "gelu", "gelu_tanh", "relu", "relu2"] as const;
export type Activation = (typeof ACTIVATIONS)[number];

export const instances: Instance[] = [
  ...ACTIVATIONS.flatMap((ACT) => [
    { kernel: gatedActivation, constexprs: { ACT, BLOCK } },
    { kernel: activation, constexprs: { ACT, BLOCK } },
  ]),
  { kernel: addScaled, constexprs: { BLOCK } },
  { kernel: scaleRows, constexprs: { SOFTCAP: false, BLOCK } },
  { kernel: scaleRows, constexprs: { SOFTCAP: true, BLOCK } },
  { kernel: gatherRows, constexprs: { BLOCK } },
  { kernel: softmaxRows, constexprs: { BLOCK: 64 } },
];
