/** The instruction sets the C target writes for: vector width, compiler flags and what the prelude may use. */
import { AlloyError } from "../../support/errors.ts";

export type IsaName = "avx512-vnni" | "avx512" | "avx-vnni" | "avx2" | "neon-dotprod" | "baseline" | "scalar";

export interface Isa {
  name: IsaName;
  /** 32-bit lanes of the widest vector; 1: no vector types at all. */
  width: number;
  /** Vector registers, for the choice of blocks in `dot`. */
  registers: number;
  arch: "x64" | "arm64" | "any";
  /** Flags that select the instruction set. */
  flags: readonly string[];
  /** Flags that only GCC knows and that this instruction set's kernels gain from (measured; see the README of emit/c). */
  gcc?: readonly string[];
  /** Suffix of symbols in the ahead-of-time library. */
  suffix: string;
  /** Bits of alloy_cpu_features (runtime.c) that a machine must have. */
  features: number;
}

const X86_64_V3 = ["-mavx2", "-mfma", "-mf16c", "-mbmi", "-mbmi2", "-mpopcnt", "-mlzcnt"];
/** Widened int8 dots spill heavily when GCC substitutes single uses into later expressions: 113 stack references in a loop, 0 without. */
const NO_SUBSTITUTION = ["-fno-tree-ter", "-fno-tree-reassoc"];
const AVX512 = [...X86_64_V3, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512"];
/** The last resorts, for machines of 2012, must be there, not be the best, and take twice as long to compile at -O3. */
const FALLBACK = ["-O1"];

/** Best first: the first entry that a machine can run is used. */
export const ISAS: readonly Isa[] = [
  {
    name: "avx512-vnni",
    width: 16,
    registers: 32,
    arch: "x64",
    flags: [...AVX512, "-mavx512vnni"],
    suffix: "avx512vnni",
    features: 1 | 2 | 4,
  },
  { name: "avx512", width: 16, registers: 32, arch: "x64", flags: AVX512, gcc: NO_SUBSTITUTION, suffix: "avx512", features: 1 | 2 },
  // Intel's cores without AVX-512: Alder Lake (2021) and later.
  {
    name: "avx-vnni",
    width: 8,
    registers: 16,
    arch: "x64",
    flags: [...X86_64_V3, "-mavxvnni"],
    suffix: "avxvnni",
    features: 1 | 8,
  },
  { name: "avx2", width: 8, registers: 16, arch: "x64", flags: X86_64_V3, gcc: NO_SUBSTITUTION, suffix: "avx2", features: 1 },
  {
    name: "neon-dotprod",
    width: 4,
    registers: 32,
    arch: "arm64",
    flags: ["-march=armv8.2-a+dotprod+fp16"],
    // Scheduling before registers are given out brings loads so far forward that sums are spilled: 15 to 90 vectors in a loop of a product.
    gcc: ["-fno-schedule-insns"],
    suffix: "neondot",
    features: 16,
  },
  { name: "baseline", width: 4, registers: 16, arch: "any", flags: FALLBACK, suffix: "base", features: 0 },
  { name: "scalar", width: 1, registers: 16, arch: "any", flags: FALLBACK, suffix: "scalar", features: 0 },
];

/** Flags for every instruction set; each has its reason in the engineering notes of this folder's README. */
export const COMMON_FLAGS: readonly string[] = [
  "-O3",
  "-fno-tree-vectorize",
  "-ffp-contract=fast",
  "-fno-strict-aliasing",
  "-fno-math-errno",
  "-fno-trapping-math",
  "-fwrapv",
  "-fPIC",
  "-w",
];

/** Stands between what all files for an instruction set share and a program's own text, so that several programs can be put into one file. */
export const PRELUDE_END = "\n/* end of prelude */\n";

/** The description of an instruction set by name; throws `bad_argument` for an unknown one. */
export function isaByName(name: string): Isa {
  const isa = ISAS.find((i) => i.name === name);
  if (!isa)
    throw new AlloyError("bad_argument", `There is no instruction set "${name}"`, {
      hint: `Use one of ${ISAS.map((i) => i.name).join(", ")}.`,
    });
  return isa;
}

export const isIsa = (name: string | undefined): name is IsaName => ISAS.some((i) => i.name === name);

/** Instruction sets that a machine with these features (alloy_cpu_features) and architecture can run, best first. */
export function usableIsas(features: number, arch: string = process.arch): Isa[] {
  return ISAS.filter((i) => (i.arch === "any" || i.arch === arch) && (features & i.features) === i.features);
}

/** Vector widths of an instruction set, widest first, down to 2. */
export function vectorWidths(isa: Isa): number[] {
  const w: number[] = [];
  for (let n = isa.width; n > 1; n >>= 1) w.push(n);
  return w;
}
