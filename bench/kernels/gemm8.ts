/**
 * The int8 microkernel in its plainest form, to see what the C target makes of it: one tile of MR tokens × NV vectors of 16 rows, int32
 * accumulators in registers for 32 columns, float ones beside them. `bun bench/kernels/gemm8.ts` prints TOPS beside what the dot
 * instruction reaches on registers in the same minute.
 */
import { constexpr, dim, f32, i32, kernel, out, ptr } from "../../src/compiler/language/index.ts";
import { compileProgram } from "../../src/compiler/program.ts";
import { createCpuDevice } from "../../src/runtime/cpu/device.ts";
import type { Dispatch } from "../../src/runtime/device.ts";

/**
 * w: [panels][K/4][NV·16] words of four weights (unsigned), a: [tiles][K/4][MR] words of four activations (signed), scale: [panels][K/32][NV·16].
 * y: [panels][tiles][MR][NV·16]. Grid: (panels): each program walks all token tiles.
 */
export const gemm8 = kernel(
  "gemm8",
  { w: ptr(i32), a: ptr(i32), scale: ptr(f32), y: out(f32), K: dim, tiles: dim, MR: constexpr(7), NV: constexpr(2) },
  (al, { w, a, scale, y, K, tiles, MR, NV }) => {
    const N = NV * 16;
    const lane = al.row(al.arange(N));
    const token = al.col(al.arange(MR));
    const panel = al.programId(0);
    for (let t = 0; t < tiles; t++) {
      let f = al.zeros([MR, N], al.f32);
      for (let b = 0; b < al.idiv(K, 32); b++) {
        let c = al.zeros([MR, N], al.i32);
        const wb = w + (panel * al.idiv(K, 4) + b * 8) * N;
        const ab = a + (t * al.idiv(K, 4) + b * 8) * MR;
        for (const s of al.unroll(8)) c = al.dot4(al.load(wb + s * N + lane), al.load(ab + s * MR + token), c);
        f = al.fma(al.cast(c, al.f32), al.load(scale + (panel * al.idiv(K, 32) + b) * N + lane), f);
      }
      al.store(y + (panel * tiles + t) * (MR * N) + token * N + lane, f);
    }
  },
);

/** 16 independent accumulators on registers: the limit. */
const dots = kernel("bench_dot_limit", { x: ptr(i32), y: ptr(i32), rounds: dim }, (al, { x, y, rounds }) => {
  const a = al.load(x + al.arange(16));
  const b = al.load(x + 16 + al.arange(16));
  const c: number[] = [];
  for (const i of al.unroll(16)) c.push(al.full([16], i, al.i32));
  for (let r = 0; r < rounds; r++) for (const i of al.unroll(16)) c[i] = al.dot4(a, b, c[i]);
  let all = c[0];
  for (const i of al.unroll(1, 16, 1)) all = all ^ c[i];
  al.store(y + al.programId(0) * 16 + al.arange(16), all);
});

if (import.meta.main) {
  for (const threads of [1, 2]) {
    const d = createCpuDevice({ threads });
    const seconds = (dispatch: Dispatch): number => {
      const plan = d.plan([dispatch], 0);
      plan.run();
      const times = Array.from({ length: 9 }, () => plan.profile()[0].ms / 1000).sort((p, q) => p - q);
      plan.free();
      return times[4];
    };
    const sink = d.allocate(1 << 16);
    const rounds = 300_000;
    const limit = (): number =>
      (threads * rounds * 16 * 128) /
      seconds({ program: compileProgram(d, dots, {}), grid: [threads, 1, 1], args: [sink, sink, rounds] }) /
      1e12;
    for (const [MR, NV] of [
      [7, 2],
      [6, 2],
      [3, 4],
    ]) {
      const [K, rows, tokens] = [1024, 3072, 504];
      const panels = rows / (NV * 16);
      const tiles = Math.floor(tokens / MR);
      const buffers = [rows * K, tiles * MR * K, (rows * K) / 8, rows * tiles * MR * 4].map((n) => d.allocate(n));
      const s = seconds({ program: compileProgram(d, gemm8, { MR, NV }), grid: [panels, 1, 1], args: [...buffers, K, tiles] });
      const tops = (2 * rows * K * tiles * MR) / s / 1e12;
      const peak = limit();
      console.log(
        `${d.properties.isa}, ${threads} threads, ${MR}×${NV}: ${tops.toFixed(2)} TOPS of ${peak.toFixed(2)} on registers (${((100 * tops) / peak).toFixed(0)} %)`,
      );
      for (const b of buffers) b.free();
    }
    d.close();
  }
}
