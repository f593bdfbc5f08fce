/** The NEON text compiles with a cross compiler (or natively); its results are tested by ops.test.ts on machines that have it. */
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gemm8 } from "../../../bench/kernels/gemm8.ts";
import { emitFunction, prelude } from "../../../src/compiler/emit/c/index.ts";
import type { KernelIR } from "../../../src/compiler/ir/types.ts";
import { COMMON_FLAGS, isaByName } from "../../../src/runtime/cpu/isa.ts";
import { Make } from "./harness.ts";

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
  for (const attrs of [{ signedA: false }, { signedA: true }, { signedA: false, smallA: true }] as Record<string, boolean>[])
    sum = m.one("min", [sum, m.cast(m.one("dot4", [bytes, i, i], attrs), "f32")]);
  sum = m.one("min", [sum, m.cast(m.one("dot2", [bytes, i, i]), "f32")]);
  m.storeTile(m.ptr("y", "f32", true), m.one("sub", [sum, m.broadcast(m.one("reduce", [sum], { kind: "max", axis: 0 }), [37])]));
  return m.finish("everything", {});
}

describe.skipIf(!cross)("NEON (skipped without an arm64 C compiler)", () => {
  test("compiles without a warning that matters", () => {
    const isa = isaByName("neon-dotprod");
    const dir = mkdtempSync(join(tmpdir(), "alloy-neon-"));
    try {
      writeFileSync(
        join(dir, "k.c"),
        [prelude(isa), emitFunction(everything(), isa, "everything"), emitFunction(gemm8.ir({ MR: 4, NV: 1 }), isa, "gemm8")].join("\n"),
      );
      const r = Bun.spawnSync([cross!, ...COMMON_FLAGS, ...isa.flags, "-S", join(dir, "k.c"), "-o", "-"]);
      expect(r.stderr.toString()).toBe("");
      expect(r.stdout.toString().match(/\bsdot\b/g)!.length).toBeGreaterThan(8 * 4 * 4);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  }, 120_000);
});
