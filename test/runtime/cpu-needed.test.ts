/** Leaving out what a program does not use, and headers of intrinsics cut down to what a prelude uses. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { prelude } from "../../src/compiler/emit/c/index.ts";
import { compileAll, isaFlags, systemCompiler } from "../../src/runtime/cpu/cc.ts";
import { settleHeader } from "../../src/runtime/cpu/intrinsics.ts";
import { COMMON_FLAGS, ISAS, isaByName, PRELUDE_END } from "../../src/runtime/cpu/isa.ts";
import { needed } from "../../src/runtime/cpu/needed.ts";

const dir = mkdtempSync(join(tmpdir(), "alloy-needed-"));
const before = process.env.ALLOY_CACHE_DIR;
beforeAll(() => void (process.env.ALLOY_CACHE_DIR = dir));
afterAll(() => {
  if (before === undefined) delete process.env.ALLOY_CACHE_DIR;
  else process.env.ALLOY_CACHE_DIR = before;
  rmSync(dir, { recursive: true, force: true });
});

describe("what a program needs", () => {
  const text = `#include <a.h>
#define TWICE(x) \\
  ((x) * factor())
#define UNUSED(x) (x)
/* a comment with a brace { and an apostrophe: element's */
typedef int row __attribute__((vector_size(16)));
typedef struct __attribute__((packed)) { int a; } pair;
static const char brace[] = "{\\"";
static const int table[2] = {1, 2};
extern float expf(float), sqrtf(float);
static inline int factor(void) { return first("}"); }
extern __inline __attribute__((__always_inline__)) int
first (const char *s)
{
  if (s) { return table[0]; }
  return 0;
}
static __attribute__((noinline)) row unused_row(row x) { return second(x); }
static inline row second(row x) { return x; }
#if ODD
static inline int parity(int x) { return x & 1; }
#else
static inline int parity(int x) { return ~x & 1; }
#endif`;
  const names = ["TWICE", "UNUSED", "factor", "first", "unused_row", "second", "parity"];
  const left = (program: string): string[] => names.filter((n) => new RegExp(`\\b${n} ?\\(`).test(needed(text, program)));

  test("functions and macros, and what those use", () => {
    expect(left("int f(void) { return TWICE(2); }")).toEqual(["TWICE", "factor", "first"]);
    expect(left("row f(row x) { return unused_row(x); }")).toEqual(["unused_row", "second"]);
    expect(left("")).toEqual([]);
  });

  test("every form of a function, between the directives that choose", () => {
    const short = needed(text, "int f(int x) { return parity(x); }");
    expect(short.slice(short.indexOf("#if ODD"))).toBe(text.slice(text.indexOf("#if ODD")));
  });

  test("all other declarations, in their order", () => {
    const short = needed(text, "");
    const all = ["#include", "typedef int row", "typedef struct", "brace[]", "table[2] = {1, 2};", "extern float expf"];
    expect(all.map((d) => short.indexOf(d))).toEqual(all.map((d) => short.indexOf(d)).sort((a, b) => a - b));
    expect(short).not.toContain("factor");
  });
});

const compilers = ["gcc", "clang-19", "aarch64-linux-gnu-gcc"].filter((c) => Bun.which(c));

describe.each(compilers)("headers of intrinsics of %s", (name) => {
  const arch = name.startsWith("aarch64") ? "arm64" : process.arch;
  test.each(ISAS.filter((i) => i.arch === arch).map((i) => i.name))("%s", (isa) => {
    const target = isaByName(isa);
    const text = prelude(target);
    const settled = settleHeader(text, [name], "test", [...COMMON_FLAGS, ...isaFlags([name], target)]);
    expect(settled).not.toMatch(/#include <(immintrin|arm_neon)/);
    expect(settled.length).toBeLessThan(text.length + 100_000);
  });
});

test("a compiler that cannot show its header gets the whole of it", () => {
  const text = prelude(isaByName("avx2"));
  expect(settleHeader(text, ["false"], "test", [])).toBe(text);
});

test.skipIf(!systemCompiler())("a program that needs what was left out compiles all the same", () => {
  const text = `#define CALL(x) fn_##x()
static inline int fn_a(void) { return 7; }${PRELUDE_END}
int pasted(void) { return CALL(a); }`;
  const units = compileAll([{ symbol: "pasted", text }], isaByName("baseline"));
  expect(units.get("pasted")!.lookup("pasted")).toBeGreaterThan(0);
  expect(readdirSync(join(dir, "kernels")).filter((f) => f.startsWith("tmp-"))).toEqual([]);
});
