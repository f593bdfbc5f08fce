/** Elementwise functions by name, and the kernel that computes a fusion of them for every element. */
import type { DTypeObject } from "../src/compiler/language/index.ts";
import { constexpr, dim, fn, kernel, out } from "../src/compiler/language/index.ts";
import { simdgroups } from "./elementwise.ts";
import { operands, type Fusion } from "./fusion.ts";

/** Half floats arrive widened to f32. NaN passes through all of them but `maximum` and `minimum`, which prefer the number as fmax does. */
export const POINTWISE = {
  add: fn((al, a, b) => a + b),
  sub: fn((al, a, b) => a - b),
  mul: fn((al, a, b) => a * b),
  div: fn((al, a, b) => a / b),
  pow: fn((al, a, b) => al.pow(a, b)),
  maximum: fn((al, a, b) => al.max(a, b)),
  minimum: fn((al, a, b) => al.min(a, b)),
  less: fn((al, a, b) => a < b),
  lessEqual: fn((al, a, b) => a <= b),
  greater: fn((al, a, b) => a > b),
  greaterEqual: fn((al, a, b) => a >= b),
  equal: fn((al, a, b) => a === b),
  notEqual: fn((al, a, b) => a !== b),
  where: fn((al, c, a, b) => al.where(c, a, b)),
  neg: fn((al, x) => -x),
  abs: fn((al, x) => al.abs(x)),
  square: fn((al, x) => x * x),
  sqrt: fn((al, x) => al.sqrt(x)),
  rsqrt: fn((al, x) => al.rsqrt(x)),
  exp: fn((al, x) => al.exp(x)),
  exp2: fn((al, x) => al.exp2(x)),
  log: fn((al, x) => al.log(x)),
  log2: fn((al, x) => al.log2(x)),
  sin: fn((al, x) => al.sin(x)),
  cos: fn((al, x) => al.cos(x)),
  tanh: fn((al, x) => al.tanh(x)),
  erf: fn((al, x) => al.erf(x)),
  sigmoid: fn((al, x) => al.sigmoid(x)),
  floor: fn((al, x) => al.floor(x)),
  ceil: fn((al, x) => al.ceil(x)),
  round: fn((al, x) => al.round(x)),
  trunc: fn((al, x) => al.trunc(x)),
  relu: fn((al, x) => al.where(x < 0, 0, x)),
  silu: fn((al, x) => x * al.sigmoid(x)),
  /** Exact, with erf (Hendrycks & Gimpel 2016). */
  gelu: fn((al, x) => 0.5 * x * (1 + al.erf(x * 0.7071067811865476))),
  /** Its tanh approximation. */
  geluTanh: fn((al, x) => 0.5 * x * (1 + al.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))),
};

/** y = source, elementwise; y: [rows, columns]. Grid: (ceil(columns / BC), ceil(rows / BR)). */
export const pointwise = (f: Fusion, type: DTypeObject) =>
  kernel(
    f.name,
    { ...operands(f), y: out(type), rows: dim, columns: dim, BR: constexpr(1), BC: constexpr(256) },
    (al, p) => {
      const { y, rows, columns, BR, BC, source } = p;
      const col = al.row(al.programId(0) * BC + al.arange(BC));
      const inside = col < columns;
      if (BR === 1) {
        const row = al.programId(1);
        al.store(y + row * columns + col, source(p, row, col, inside), { mask: inside });
      } else {
        const r = al.col(al.programId(1) * BR + al.arange(BR));
        const row = al.min(r, rows - 1);
        al.store(y + row * columns + col, source(p, row, col, inside), { mask: r < rows && inside });
      }
    },
    { uses: { source: f.source }, simdgroups: (c) => simdgroups({ BLOCK: c.BR * c.BC }) },
  );
