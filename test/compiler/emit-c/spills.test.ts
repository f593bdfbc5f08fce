/** The int8 microkernel keeps its accumulators in registers: no vector goes to the stack inside the loop that holds the dots. */
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { emitC } from "../../../src/compiler/emit/c/index.ts";
import { isaFlags, systemCompiler } from "../../../src/runtime/cpu/cc.ts";
import type { IsaName } from "../../../src/runtime/cpu/isa.ts";
import { COMMON_FLAGS, isaByName } from "../../../src/runtime/cpu/isa.ts";
import { gemm8 } from "../../../bench/kernels/gemm8.ts";

/** Assembly of a kernel, without directives. */
function assembly(isa: IsaName, constexprs: Record<string, number>): string[] {
  const dir = mkdtempSync(join(tmpdir(), "alloy-spills-"));
  try {
    writeFileSync(join(dir, "k.c"), emitC(gemm8.ir(constexprs), isa, "gemm8"));
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
    return r.stdout
      .toString()
      .split("\n")
      .filter((l) => !/^\s*\.(?!L)/.test(l));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Lines of the innermost loop around the first line that matches: from the label that a later line jumps back to. */
function innermostLoop(lines: readonly string[], inside: RegExp): string[] {
  const first = lines.findIndex((l) => inside.test(l));
  for (let end = first; end < lines.length; end++) {
    const jump = /^\s*j\w+\s+(\.L\w+)/.exec(lines[end]);
    if (!jump) continue;
    const start = lines.lastIndexOf(`${jump[1]}:`, first);
    if (start >= 0) return lines.slice(start, end + 1);
  }
  return [];
}

const spills = (lines: readonly string[], register: string): number =>
  lines.filter((l) => l.includes(register) && /\(%r[sb]p/.test(l)).length;

describe.skipIf(process.arch !== "x64" || !systemCompiler())("registers (x86 with a C compiler; skipped elsewhere)", () => {
  test.each([
    ["avx512-vnni", 7, 2],
    ["avx512-vnni", 6, 2],
    ["avx512-vnni", 3, 4],
  ] as const)("%s %d×%d", (isa, MR, NV) => {
    const loop = innermostLoop(assembly(isa, { MR, NV }), /vpdpbusd/);
    expect(loop.filter((l) => l.includes("vpdpbusd")).length).toBe(8 * MR * NV);
    expect(spills(loop, "%zmm")).toBe(0);
  });

  test("avx2 2×1", () => {
    const loop = innermostLoop(assembly("avx2", { MR: 2, NV: 1 }), /vpmaddwd/);
    expect(loop.filter((l) => l.includes("vpmaddwd")).length).toBe(8 * 2 * 2 * 2);
    expect(spills(loop, "%ymm")).toBe(0);
  });
});
