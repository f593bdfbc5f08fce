/** Compiling at run time: the disk cache, the compiler's errors, and the built-in compiler when there is no other. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compileAll, systemCompiler } from "../../src/runtime/cpu/cc.ts";
import { isaByName } from "../../src/runtime/cpu/isa.ts";

const dir = mkdtempSync(join(tmpdir(), "alloy-cc-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const text = (name: string, value: number): string => `typedef unsigned int u32; typedef unsigned long long u64;
void ${name}(const u64 *args, u32 begin, u32 end, const u32 *grid) { *(int *)args[0] = ${value}; }`;

describe.skipIf(!systemCompiler())("the system's C compiler (skipped where there is none)", () => {
  const before = process.env.ALLOY_CACHE_DIR;
  const inCache = <T>(f: () => T): T => {
    process.env.ALLOY_CACHE_DIR = dir;
    try {
      return f();
    } finally {
      if (before === undefined) delete process.env.ALLOY_CACHE_DIR;
      else process.env.ALLOY_CACHE_DIR = before;
    }
  };
  const files = (): string[] => readdirSync(join(dir, "kernels")).sort();

  test("programs are compiled once and found again", () => {
    inCache(() => {
      const sources = Array.from({ length: 5 }, (_, i) => ({ symbol: `cached_${i}`, text: text(`cached_${i}`, i) }));
      const units = compileAll(sources, isaByName("baseline"));
      for (const s of sources) expect(units.get(s.symbol)!.lookup(s.symbol)).toBeGreaterThan(0);
      expect(units.get("cached_0")!.lookup("nothing")).toBe(0);
      const made = files();
      expect(made.filter((f) => f.endsWith(".ref")).length).toBe(5);
      const times = made.map((f) => statSync(join(dir, "kernels", f)).mtimeMs);
      compileAll(sources, isaByName("baseline"));
      expect(files()).toEqual(made);
      expect(made.map((f) => statSync(join(dir, "kernels", f)).mtimeMs)).toEqual(times);
      compileAll([{ symbol: "cached_0", text: text("cached_0", 77) }], isaByName("baseline"));
      expect(files().length).toBe(made.length + 2);
    });
  });

  test("the compiler's words are in the error, and nothing is left behind", () => {
    inCache(() => {
      const n = files().length;
      expect(() => compileAll([{ symbol: "broken", text: "void broken(void) { not C; }" }], isaByName("baseline"))).toThrow(
        "could not compile broken",
      );
      expect(files().length).toBe(n);
    });
  });
});

/** Another process, because the runtime is loaded once per process. */
async function withEnv(env: Record<string, string>): Promise<{ out: string; code: number }> {
  const script = `
    import { kernel, ptr, out, dim, f32, f16 } from ${JSON.stringify(join(import.meta.dir, "../../src/compiler/language/index.ts"))};
    import { defaultDevice } from ${JSON.stringify(join(import.meta.dir, "../../src/compiler/default-device.ts"))};
    const k = kernel("fallback_softmax", { x: ptr(f32), h: ptr(f16), y: out(f32), n: dim }, (al, { x, h, y, n }) => {
      const i = al.arange(512);
      const v = al.load(x + i, { mask: i < n, other: -Infinity }) + al.cast(al.load(h + i, { mask: i < n }), al.f32);
      const e = al.exp(v - al.max(v));
      al.store(y + i, e / al.sum(e), { mask: i < n });
    });
    const y = new Float32Array(300);
    await k.grid(1)({ x: Float32Array.from({ length: 300 }, (_, i) => i / 100), h: new Float16Array(300).fill(0.5), y, n: 300 });
    console.log(defaultDevice().properties.isa, defaultDevice().properties.threads, y.reduce((a, b) => a + b, 0).toFixed(4), y[299] > y[0]);
    process.exit(0);
  `;
  const p = Bun.spawn([process.execPath, "-e", script], { env: { ...process.env, ...env }, stdout: "pipe", stderr: "pipe" });
  const out = (await new Response(p.stdout).text()) + (await new Response(p.stderr).text());
  return { out: out.trim(), code: await p.exited };
}

test("without a C compiler the built-in one makes runtime and kernels", async () => {
  const r = await withEnv({ ALLOY_CC: "", ALLOY_LIBRARY: "none" });
  expect(r.out).toBe("scalar 1 1.0000 true");
});

test("a compiler that is not there is named", async () => {
  const r = await withEnv({ ALLOY_CC: "no-such-compiler", ALLOY_LIBRARY: "none" });
  expect(r.code).not.toBe(0);
  expect(r.out).toContain('ALLOY_CC names "no-such-compiler"');
});

test("ALLOY_THREADS and ALLOY_ISA are obeyed", async () => {
  const r = await withEnv({ ALLOY_THREADS: "3", ALLOY_ISA: "baseline", ALLOY_LIBRARY: "none" });
  if (systemCompiler()) expect(r.out).toBe("baseline 3 1.0000 true");
});
