/** Products keep their accumulators in registers: no vector goes to the stack inside the loop that holds the dots or multiply-adds. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { emitC } from "../../../src/compiler/emit/c/index.ts";
import { isaFlags, systemCompiler } from "../../../src/runtime/cpu/cc.ts";
import { attentionConfig } from "../../../kernels/attention.ts";
import { linearPanels, PANEL } from "../../../kernels/linear-float.ts";
import type { IsaName } from "../../../src/runtime/cpu/isa.ts";
import { COMMON_FLAGS, isaByName } from "../../../src/runtime/cpu/isa.ts";
import { gemm8 } from "../../../bench/kernels/gemm8.ts";
import { linearPrefill, prefillConstexprs } from "../../../kernels/linear-prefill.ts";
import type { KernelIR } from "../../../src/compiler/ir/types.ts";
import { assemblyLines, innermostLoop, loopsOf } from "./assembly.ts";

setDefaultTimeout(120_000);

/** Assembly of a kernel, without directives. */
function assembly(isa: IsaName, ir: KernelIR): string[] {
  const dir = mkdtempSync(join(tmpdir(), "alloy-spills-"));
  try {
    writeFileSync(join(dir, "k.c"), emitC(ir, isa, "k"));
    const r = Bun.spawnSync([
      systemCompiler()!.path,
      ...COMMON_FLAGS,
      ...isaFlags([systemCompiler()!.path], isaByName(isa)),
      "-S",
      join(dir, "k.c"),
      "-o",
      "-",
    ]);
    expect(r.stderr.toString()).toBe("");
    return assemblyLines(r.stdout.toString());
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

const spills = (lines: readonly string[], register: string): number =>
  lines.filter((l) => l.includes(register) && /\(%r[sb]p/.test(l)).length;

describe.skipIf(process.arch !== "x64" || !systemCompiler())("registers (x86 with a C compiler; skipped elsewhere)", () => {
  test.each([
    ["avx512-vnni", 7, 2],
    ["avx512-vnni", 6, 2],
    ["avx512-vnni", 3, 4],
  ] as const)("%s %d×%d", (isa, MR, NV) => {
    const loop = innermostLoop(assembly(isa, gemm8.ir({ MR, NV })), /vpdpbusd/);
    expect(loop.filter((l) => l.includes("vpdpbusd")).length).toBe(8 * MR * NV);
    expect(spills(loop, "%zmm")).toBe(0);
  });

  test("avx2 2×1", () => {
    const loop = innermostLoop(assembly("avx2", gemm8.ir({ MR: 2, NV: 1 })), /vpmaddwd/);
    expect(loop.filter((l) => l.includes("vpmaddwd")).length).toBe(8 * 2 * 2 * 2);
    expect(spills(loop, "%ymm")).toBe(0);
  });

  test.each([
    ["avx512-vnni", "q8_0", 0],
    ["avx512-vnni", "q4_k", 0],
    ["avx512-vnni", "q5_k", 0],
    ["avx512-vnni", "q6_k", 0],
    ["avx512-vnni", "q2_k", 0],
    ["avx-vnni", "q8_0", 0],
    ["avx-vnni", "q4_k", 0],
    // Both kinds of sums and two vectors of weights fill all registers: what is needed once in 48 dots is on the stack.
    ["avx2", "q8_0", 6],
    ["avx2", "q4_k", 0],
    ["avx2", "q5_k", 4],
    ["avx2", "q6_k", 0],
    ["avx512", "q4_k", 0],
    ["avx512", "q6_k", 0],
  ] as const)("prefill on %s of %s", (isa, type, allowed) => {
    const vnni = isa.endsWith("vnni");
    const wide = isa.startsWith("avx512");
    const lines = assembly(isa, linearPrefill.ir(prefillConstexprs(type, isa)));
    const dot = vnni ? "vpdpbusd" : "vpmaddubsw";
    const loop = innermostLoop(lines, new RegExp(dot));
    expect(loop.filter((l) => l.includes(dot)).length).toBe(wide ? 8 * 12 : 8 * 6);
    expect(spills(loop, wide ? "%zmm" : "%ymm")).toBeLessThanOrEqual(allowed);
  });

  test.each([
    ["avx512-vnni", "%zmm", 24, 10],
    ["avx2", "%ymm", 12, 8],
  ] as const)("panels of floats, %s", (isa, register, products, loads) => {
    const loop = innermostLoop(assembly(isa, linearPanels.f16.ir(PANEL)), /vfmadd/);
    expect(loop.filter((l) => l.includes("vfmadd")).length).toBe(products);
    expect(loop.filter((l) => l.includes(register) && l.includes("(")).length).toBe(loads);
    expect(spills(loop, register)).toBe(0);
  });

  // Both products of attention: over elements of a key, over keys; in prefill also those that widen what they multiply.
  test.each([
    ["avx512-vnni", "prefill", "%zmm", 16, 4],
    ["avx512-vnni", "decode", "%zmm", 8, 2],
    ["avx2", "prefill", "%ymm", 12, 4],
    ["avx2", "decode", "%ymm", 8, 2],
  ] as const)("attention on %s, %s", (isa, phase, register, products, count) => {
    const { kernel, constexprs } = attentionConfig({ D: 128, G: 2, kv: "f16", phase }, isa);
    const loops = loopsOf(assembly(isa, kernel.ir(constexprs)), /vfmadd/).filter(
      (l) => l.filter((line) => line.includes("vfmadd")).length === products && l.length < 60,
    );
    expect(loops.length).toBeGreaterThanOrEqual(count);
    for (const loop of loops) expect(spills(loop, register)).toBe(0);
  });
});
