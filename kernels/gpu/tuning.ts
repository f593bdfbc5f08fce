/** Sizes of the GPU kernels' programs. */
export interface GpuTuning {
  /** Mat-vec: lanes that share the columns, and rows of a program with one or two tokens. */
  lanes: number;
  rows: number;
  /** Matmul: tokens × rows of a program, and of those for plans that have no more tokens than `small`. */
  tile: { BM: number; BN: number };
  small: { BM: number; BN: number };
  /** Attention: programs that fill the GPU. */
  programs: number;
}

/** For GPUs. Chosen by what registers (about 100 floats a thread) and 32 KiB of threadgroup memory hold; measured on none yet. */
export const GPU_TUNING: GpuTuning = {
  lanes: 64,
  rows: 4,
  tile: { BM: 32, BN: 64 },
  small: { BM: 16, BN: 32 },
  programs: 256,
};

/** For running the same kernels on a CPU, to debug them: little to compile, and every path taken by small models. */
export const DEBUG_TUNING: GpuTuning = {
  lanes: 16,
  rows: 2,
  tile: { BM: 8, BN: 16 },
  small: { BM: 8, BN: 16 },
  programs: 8,
};
