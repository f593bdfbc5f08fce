/** What the lint rejects and what it lets pass. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { lint } from "./lint.ts";

const inKernel = (body: string): string =>
  `#include <metal_stdlib>\nusing namespace metal;\nkernel void k(device float* o [[buffer(0)]], uint i [[thread_position_in_grid]]) {\n  ${body}\n}\n`;

const REJECTED: [rule: string, text: string][] = [
  ["forbidden-word", inKernel("double x = 1.0;")],
  ["forbidden-word", inKernel("thread int* p = new int;")],
  ["forbidden-word", "struct A { virtual void f(); };"],
  ["forbidden-word", inKernel("goto end; end: ;")],
  ["forbidden-word", inKernel("try { o[0] = 1.0f; } catch (int e) {}")],
  ["forbidden-word", inKernel("o[0] = std::max(1.0f, 2.0f);")],
  ["double", inKernel("o[0] = float(1.0L);")],
  ["lambda", inKernel("auto f = [&](float x) { return x; };")],
  ["lambda", inKernel("o[0] = apply([](float x) { return x; }, 1.0f);")],
  ["function-pointer", inKernel("float (*f)(float) = sin;")],
  ["static-local", inKernel("static int n = 0;")],
  ["global", "int counter = 0;\n"],
  ["global", "static float table[4] = {1.0f, 2.0f, 3.0f, 4.0f};\n"],
  ["global", "constant float x;\n"],
  ["recursion", "int f(int n) { return n < 2 ? 1 : n * f(n - 1); }"],
  ["recursion", "int g(int n);\nint f(int n) { return g(n); }\nint g(int n) { return f(n); }"],
  ["array-size", inKernel("uint n = i; float a[n];")],
  ["array-size", inKernel("float a[4], b[i + 1];")],
  ["vector-condition", inKernel("float4 a = float4(1.0f), b = float4(2.0f); float4 c = a < b ? a : b;")],
  ["vector-condition", inKernel("bool4 m = bool4(true); float4 a = float4(1.0f); a = m ? a : a;")],
  ["comparison", inKernel("float4 a = float4(1.0f), b = float4(2.0f); int4 m = a < b;")],
  ["mixed-vector", inKernel("half4 a = half4(1.0h); half4 b = a * 2.0f;")],
  ["mixed-vector", inKernel("half2 a = half2(1.0h); float s = 2.0f; half2 b = s * a;")],
  ["mixed-vector", inKernel("half4 a = half4(1.0h); float4 c = float4(1.0f); float4 b = c + a;")],
  ["mixed-vector", inKernel("half4 a = half4(1.0h); half2 b = a.xy * 1.5;")],
  ["attribute", "kernel void k(device float* o) { o[0] = 1.0f; }"],
  ["attribute", "kernel void k(uint3 a [[thread_position_in_grid]], uint b [[threadgroup_position_in_grid]]) {}"],
  ["attribute", "kernel void k(int a [[thread_position_in_grid]]) {}"],
  ["kernel", "kernel int k(uint a [[thread_position_in_grid]]) { return 1; }"],
  ["threadgroup-variable", "void f() { threadgroup float s[4]; }"],
  ["atomic-access", "kernel void k(device atomic_uint* n [[buffer(0)]]) { n[0] = 1u; }"],
  ["atomic-access", inKernel("threadgroup atomic_uint n[4]; o[i] = float(n[1]);")],
  ["reserved-name", inKernel("float sampler = 1.0f;")],
  ["reserved-name", inKernel("int object = 1;")],
  ["include", "#include <vector>\n"],
];

test.each(REJECTED)("%s: %s", (rule, text) => {
  const rules = lint(text).map((f) => f.rule);
  expect(rules).toContain(rule);
});

const ACCEPTED = [
  "float4 a = float4(1.0f), b = float4(2.0f); float4 c = select(b, a, a < b);",
  "float4 a = float4(1.0f); float x = a.x < a.y ? a.x : a.y;",
  "float4 a = float4(1.0f); float4 b = any(a < 2.0f) ? a : a * 2.0f;",
  "half4 a = half4(1.0h); half4 b = a * 2.0h; float4 c = float4(a) * 2.0f; half4 d = a * half(i);",
  "constexpr uint N = 4u; float a[N], b[2][3]; a[i & 3u] = 1.0f; b[0][i & 1u] = a[0];",
  "threadgroup float s[64]; threadgroup float* p = s; thread float* q = (thread float*)nullptr; p[i] = 1.0f;",
  "threadgroup atomic_uint n[4]; atomic_store_explicit(&n[i], 0u, memory_order_relaxed); bool4 m = float4(1.0f) < float4(2.0f);",
  "int4 m = select(int4(0), int4(1), float4(1.0f) < float4(2.0f)); for (uint k = 0; k < 4; k++) o[k] = float(m[k]);",
  "float x = o[i] < 1.0f ? o[i] : 2.0; float y = 1e-3f * x; uint word = as_type<uint>(x); long big = 1L << 40;",
];

test.each(ACCEPTED)("accepts %s", (body) => {
  expect(lint(inKernel(body))).toEqual([]);
});

test.each(["features.metal", "defects.metal"])("%s passes", (file) => {
  expect(lint(readFileSync(new URL(file, import.meta.url), "utf8"))).toEqual([]);
});

test("findings name the line", () => {
  expect(lint(inKernel("o[0] = 1.0f;\n  double x = 2.0;"))[0].line).toBe(5);
});
