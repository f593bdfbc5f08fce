/**
 * The NEON text compiles with a cross compiler (or natively), without a warning, and its loops keep their sums in registers. What kernels
 * compute is tested by ../../kernels/arm64.test.ts, every operation by ops.test.ts on machines that have NEON.
 */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { attentionConfig } from "../../../kernels/attention.ts";
import { linearPanels, panelTile } from "../../../kernels/linear-float.ts";
import { linearPrefill, prefillConstexprs } from "../../../kernels/linear-prefill.ts";
import { linear, linearConstexprs } from "../../../kernels/linear.ts";
import { gemm8 } from "../../../bench/kernels/gemm8.ts";
import { emitFunction, prelude } from "../../../src/compiler/emit/c/index.ts";
import type { KernelIR } from "../../../src/compiler/ir/types.ts";
import { isaFlags } from "../../../src/runtime/cpu/cc.ts";
import { COMMON_FLAGS, isaByName } from "../../../src/runtime/cpu/isa.ts";
import { assemblyLines, countOf, innermostLoop, loopsOf } from "./assembly.ts";
import { Make } from "./harness.ts";

setDefaultTimeout(120_000);
const ISA = isaByName("neon-dotprod");

const cross = process.arch === "arm64" ? Bun.which("cc") : Bun.which("aarch64-linux-gnu-gcc");

/** One kernel with every elementwise float op and conversion over a row that has a remainder. */
function everything(): KernelIR {
  const m = new Make();
  const x = m.loadTile(m.ptr("x", "f32"), [37]);
  let sum = x;
  for (const op of [
    "exp",
    "exp2",
    "log",
    "log2",
    "sin",
    "cos",
    "tanh",
    "sqrt",
    "rsqrt",
    "floor",
    "ceil",
    "round",
    "trunc",
    "erf",
    "abs",
    "neg",
  ])
    sum = m.one("add", [sum, m.one(op, [x])]);
  for (const to of ["i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "f16", "bf16", "f64"] as const)
    sum = m.one("max", [sum, m.cast(m.cast(x, to), "f32")]);
  const i = m.cast(x, "i32");
  const bytes = m.one("byteLookup", [m.one("and", [i, m.broadcast(m.int(0x0f0f0f0f), [37])])], {
    table: Array.from({ length: 16 }, (_, k) => k * 15),
  });
  for (const attrs of [{ signedA: false }, { signedA: true }, { signedA: false, maxA: 127 }, { signedA: true, maxB: 127 }] as Record<
    string,
    boolean | number
  >[])
    sum = m.one("min", [sum, m.cast(m.one("dot4", [bytes, i, i], attrs), "f32")]);
  sum = m.one("min", [sum, m.cast(m.one("dot2", [bytes, i, i]), "f32")]);
  m.storeTile(m.ptr("y", "f32", true), m.one("sub", [sum, m.broadcast(m.one("reduce", [sum], { kind: "max", axis: 0 }), [37])]));
  return m.finish("everything", {});
}

/** Assembly of kernels in one file, as they are compiled for releases. */
function assembly(texts: readonly string[]): string[] {
  const dir = mkdtempSync(join(tmpdir(), "alloy-neon-"));
  try {
    writeFileSync(join(dir, "k.c"), [prelude(ISA), ...texts].join("\n"));
    const r = Bun.spawnSync([cross!, ...COMMON_FLAGS, ...isaFlags([cross!], ISA), "-S", join(dir, "k.c"), "-o", "-"]);
    expect(r.stderr.toString()).toBe("");
    return assemblyLines(r.stdout.toString());
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Vectors that go to the stack or come from there. */
const spills = (lines: readonly string[]): number => countOf(lines, /\b[qvd]\d+.*\[(sp|x29)/);

describe.skipIf(!cross)(`NEON${cross ? "" : ": skipped, there is no arm64 C compiler (Debian: gcc-aarch64-linux-gnu)"}`, () => {
  test("compiles without a warning that matters", () => {
    const lines = assembly([emitFunction(everything(), ISA, "everything"), emitFunction(gemm8.ir({ MR: 4, NV: 1 }), ISA, "gemm8")]);
    expect(countOf(lines, /\bsdot\b/)).toBeGreaterThan(8 * 4 * 4);
  });

  // 3 tokens × 4 vectors × 32 columns: weights are loaded once for the tokens, activations once for 16 columns.
  test.each([
    ["q8_0", 2],
    ["q4_k", 0],
    ["q6_k", 0],
  ] as const)("prefill of %s: sums in registers", (type, allowed) => {
    const ir = linearPrefill.ir(prefillConstexprs(type, ISA.name));
    const loop = innermostLoop(assembly([emitFunction(ir, ISA, "k")]), /\bsdot\b/);
    expect(countOf(loop, /\bsdot\b.*\[\d\]$/)).toBe(96);
    expect(countOf(loop, /\bsdot\b/)).toBe(96);
    expect(countOf(loop, /\bld1r\b|\bdup\b/)).toBe(0);
    expect(spills(loop)).toBeLessThanOrEqual(allowed);
  });

  test("decode of q8_0: one dot for four columns of four rows", () => {
    const loop = innermostLoop(assembly([emitFunction(linear.ir(linearConstexprs("q8_0", 1, ISA.name)), ISA, "k")]), /\bsdot\b/);
    expect(countOf(loop, /\bsdot\b.*\[\d\]$/)).toBe(32);
    expect(countOf(loop, /\bsdot\b/)).toBe(32);
    expect(spills(loop)).toBe(0);
  });

  test("panels of floats, and attention", () => {
    const kernels = [
      [linearPanels.f16.ir(panelTile(ISA.name)), 24],
      ...(["prefill", "decode"] as const).map((phase) => {
        const { kernel, constexprs } = attentionConfig({ D: 128, G: 2, kv: "f16", phase }, ISA.name);
        return [kernel.ir(constexprs), phase === "prefill" ? 24 : 16] as const;
      }),
    ] as const;
    for (const [ir, products] of kernels) {
      const loops = loopsOf(assembly([emitFunction(ir, ISA, "k")]), /\bfmla\b/);
      const inner = loops.filter((l) => countOf(l, /\bfmla\b/) === products && l.length < 60);
      expect(inner.length).toBeGreaterThanOrEqual(2);
      for (const loop of inner) expect(spills(loop)).toBe(0);
    }
  });
});
