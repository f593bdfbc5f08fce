/** What the text of key kernels looks like: vectors, barriers, copies, names; and that no text of a stock kernel has what Apple's compiler refuses. */
import { describe, expect, test } from "bun:test";
import { matmul } from "../../../examples/matmul.ts";
import { flashF16 } from "../../../kernels/gpu/attention.ts";
import { addScaled } from "../../../kernels/elementwise.ts";
import { GPU_INSTANCES } from "../../../kernels/gpu/instances.ts";
import { INSTANCES } from "../../../kernels/instances.ts";
import { emitMetal } from "../../../src/compiler/emit/metal/index.ts";
import { pipeline } from "../../../src/compiler/emit/metal/pipeline.ts";
import { verify } from "../../../src/compiler/ir/verify.ts";
import { walk } from "../../../src/compiler/ir/walk.ts";
import { constexpr, dim, f32, f64, functionConstant, i64, kernel, out, ptr } from "../../../src/compiler/language/index.ts";
import { lint } from "../../metal-host/lint.ts";
import { fullText } from "./harness.ts";

const count = (text: string, what: RegExp): number => text.match(what)?.length ?? 0;
const bodyOf = (text: string): string => text.slice(text.indexOf("kernel void"));

describe("text", () => {
  test("elementwise: whole vectors, a count where the mask ends, the user's names, no barrier", () => {
    const body = bodyOf(emitMetal(addScaled.specialize({ BLOCK: 256 }), "k").text);
    expect(body).toContain("alloy_load_float4(");
    expect(body).toContain("N - k");
    expect(body).toContain("const int row = ");
    expect(body).toContain("alloy_store_float4(");
    expect(body).not.toContain("barrier");
  });

  test("matmul: two copies, one barrier a turn, the next turn's loads before the products", () => {
    const p = emitMetal(matmul.specialize({ BM: 64, BN: 64, BK: 32 }), "k");
    const loop = bodyOf(p.text).split("for (int k = 0")[1];
    expect(count(loop, /threadgroup_barrier/g)).toBe(1);
    expect(loop).toContain("turn ^= 1");
    expect(loop.indexOf("alloy_load_half4(")).toBeLessThan(loop.indexOf("alloy_mma_half("));
    expect(p.threads).toEqual([128, 1, 1]);
    expect(p.sharedBytes).toBeLessThan(24 * 1024);
  });

  test("pipelining gives IR that holds together, and leaves loops without products alone", () => {
    const before = matmul.specialize({ BM: 64, BN: 64, BK: 32 });
    const after = pipeline(before);
    verify(after);
    const inLoop = (ir: typeof before): number => {
      let n = 0;
      walk(ir.body, (op) => (n += op.op === "for" ? op.regions[0].args.length : 0));
      return n;
    };
    expect(inLoop(after)).toBe(inLoop(before) + 2);
    const plain = addScaled.specialize({ BLOCK: 256 });
    expect(pipeline(plain)).toBe(plain);
  });

  test("flash attention: probabilities go from product to product in registers", () => {
    const p = emitMetal(flashF16.specialize({ D: 64, DP: 64, BM: 32, BN: 32 }), "k");
    const loop = bodyOf(p.text).split("for (int i = ")[1];
    expect(count(bodyOf(p.text), /threadgroup half \*const \w+_tile = /g)).toBe(3);
    expect(count(loop, /barrier\(mem_flags::mem_threadgroup\)/g)).toBe(2);
    expect(loop).not.toContain("_moved");
  });

  test("a kernel without tiles: one thread a program; function constants", () => {
    const k = kernel("scalar", { x: ptr(f32), y: out(f32), F: functionConstant(f32, 2) }, (al, { x, y, F }) => {
      const i = al.programId(0);
      al.store(y + i, al.load(x + i) * F);
    });
    const p = emitMetal(k.specialize({}, { keepConstants: true }), "k");
    expect(p.perThread).toBe(true);
    expect(p.constants).toEqual([{ index: 0, name: "k_F", type: "f32", value: 2 }]);
    expect(p.text).toContain("constant float k_F [[function_constant(0)]];");
    expect(p.writes).toEqual([false, true]);
  });

  test("what Metal does not have is said with the line", () => {
    const wide = kernel("wide", { x: ptr(f64), y: out(f64) }, (al, { x, y }) => al.store(y, al.load(x)));
    expect(() => emitMetal(wide.specialize(), "k")).toThrow("f64 does not exist on Metal");
    const atomic = kernel("counter", { x: ptr(i64), n: dim }, (al, { x, n }) => {
      al.atomicAdd(x + n, al.cast(1, al.i64));
    });
    expect(() => emitMetal(atomic.specialize(), "k")).toThrow("i64");
    const large = kernel("large", { a: ptr(f32), y: out(f32), N: constexpr(256) }, (al, { a, y, N }) => {
      const at = al.col(al.arange(N)) * N + al.row(al.arange(N));
      const x = al.load(a + at);
      al.store(y + at, al.dot(x, x, al.zeros([N, N], al.f32)));
    });
    expect(() => emitMetal(large.specialize(), "k")).toThrow("bytes of threadgroup memory");
  });
});

test("every stock kernel has a text within the limits that passes the lint", () => {
  for (const { kernel: k, constexprs } of [...INSTANCES, ...GPU_INSTANCES]) {
    const ir = k.specialize(constexprs);
    // Kernels of CPUs alone have memory of a program, which GPUs have none of.
    if (ir.params.some((q) => q.kind === "local") && ir.threads === undefined) continue;
    const p = emitMetal(ir, k.symbol(constexprs));
    expect(p.sharedBytes).toBeLessThanOrEqual(32 * 1024);
    expect(lint(fullText([p])).map((f) => `${k.name}: ${f.rule} ${f.line}: ${f.text}`)).toEqual([]);
  }
}, 120_000);
