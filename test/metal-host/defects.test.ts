/** The checker finds what is planted in defects.metal, on its line, and nothing in the twins without a defect. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { metalExecutor } from "./build.ts";
import type { Finding, Library } from "./run.ts";
import { compile } from "./run.ts";

const host = metalExecutor();
if (!host.available) console.log(host.why);
const text = readFileSync(new URL("defects.metal", import.meta.url), "utf8");

interface Planted {
  name: string;
  /** What "RUN" says. */
  launch: string;
  /** Lines that must be reported, with the kinds that do. */
  defects: { line: number; kinds: string[] }[];
}

function planted(): Planted[] {
  const all: Planted[] = [];
  let launch = "";
  text.split("\n").forEach((row, i) => {
    launch = /^\/\/ RUN (.*)/.exec(row)?.[1] ?? launch;
    const name = /^kernel void (\w+)/.exec(row)?.[1];
    if (name) all.push({ name, launch, defects: [] });
    const kinds = /\/\/ DEFECT (\S+)/.exec(row)?.[1];
    if (kinds) all.at(-1)!.defects.push({ line: i + 1, kinds: kinds.split("|") });
  });
  return all;
}

function run(library: Library, { name, launch }: Planted): Finding[] {
  const word = (key: string): string | undefined => new RegExp(`\\b${key}=(\\S+)`).exec(launch)?.[1];
  const sizes = word("buffers")!.split(",");
  const dispatch = {
    kernel: name,
    buffers: sizes.map((s) => (s === "-" ? null : new Uint8Array(Number.parseInt(s)))),
    readOnly: sizes.flatMap((s, i) => (s.endsWith("r") ? [i] : [])),
    grid: Number(word("groups") ?? 1),
    threads: Number(word("threads")),
    threadgroup: word("threadgroup")?.split(",").map(Number),
  };
  const pass = library.pass();
  pass.dispatch(dispatch);
  if (/\bbarrier\b/.test(launch)) pass.barrier();
  if (/\b(twice|barrier)\b/.test(launch)) pass.dispatch(dispatch);
  return pass.end();
}

const modes = ["checked order=forward", "unoptimised order=forward", "checked order=reverse", "checked order=3"];

describe.skipIf(!host.available).each(modes)("planted defects, %s", (mode) => {
  let library: Library | undefined;
  test.each(planted().map((p) => [p.name, p] as const))("%s", (_, p) => {
    library ??= compile(text, mode);
    const findings = run(library, p);
    if (!p.defects.length) return expect(findings).toEqual([]);
    // Every finding is on a planted line, and of its kind; where a defect shows on several lines, one of them is enough.
    const seen = findings.map((f) => `${f.line} ${f.kind}`);
    const known = p.defects.flatMap(({ line, kinds }) => kinds.map((k) => `${line} ${k}`));
    expect(seen.filter((s) => known.includes(s)).length, `${p.name}: ${JSON.stringify(findings)}`).toBeGreaterThan(0);
    expect(seen.filter((s) => !known.includes(s))).toEqual([]);
  });
});

/** Texts that must not compile, with what must be said, and on which line of the body. */
const REJECTED: [what: string, text: string, words: RegExp][] = [
  [
    "device memory through a threadgroup pointer",
    "kernel void k(device float* o [[buffer(0)]]) {\n threadgroup float* p = o; p[0] = 1.0f; }",
    /:4:.*error/,
  ],
  [
    "device memory through a thread pointer",
    "kernel void k(device float* o [[buffer(0)]]) {\n thread float* p = o; p[0] = 1.0f; }",
    /:4:.*error/,
  ],
  ["a write to constant memory", "kernel void k(constant float* o [[buffer(0)]]) {\n o[0] = 1.0f; }", /:4:.*read-only variable/],
  ["a parameter without an attribute", "kernel void k(device float* o) { o[0] = 1.0f; }", /:3:.*'o' of a kernel has no attribute/],
  ["an unknown attribute", "kernel void k(uint i [[thread_index]]) {}", /:3:.*unknown attribute 'thread_index'/],
  [
    "one index for two buffers",
    "kernel void k(device float* a [[buffer(1)]], device float* b [[buffer(1)]]) {}",
    /buffer index 1 is already that of 'a'/,
  ],
  ["a buffer in no address space", "kernel void k(float* a [[buffer(0)]]) {}", /must be in device or constant memory/],
  ["a kernel that returns something", "kernel float k() { return 1.0f; }", /a kernel returns void/],
  ["two kernels of one name", "kernel void k() {}\nkernel void k() {}", /redefinition of kernel 'k'/],
  ["an initial value in threadgroup memory", "kernel void k() { threadgroup float s = 1.0f; }", /cannot have an initial value/],
  [
    "threadgroup memory outside of kernels",
    "void f() { threadgroup float s[2]; s[0] = 1.0f; }\nkernel void k() { f(); }",
    /can be declared in kernels only/,
  ],
  [
    "one index for two function constants",
    "constant int a [[function_constant(3)]];\nconstant int b [[function_constant(3)]];",
    /index 3 is already that of 'a'/,
  ],
  ["a name that is not there", "kernel void k(device float* o [[buffer(0)]]) {\n o[0] = nothing; }", /:4:.*'nothing'/],
  ["half and float vectors mixed", "kernel void k(device float4* o [[buffer(0)]]) {\n o[0] = half4(1.0h) * o[1]; }", /:4:.*error/],
  ["a vector converted by assignment", "kernel void k(device int4* o [[buffer(0)]]) {\n o[0] = float4(1.0f); }", /:4:.*error/],
  [
    "a vector of too few elements",
    "kernel void k(device float4* o [[buffer(0)]]) {\n o[0] = float4(1.0f, 2.0f); }",
    /as many elements as it has/,
  ],
  ["max of mixed types", "kernel void k(device float* o [[buffer(0)]]) {\n o[0] = float(max(1, 2u)); }", /:4:.*ambiguous/],
  ["pieces of memory that are too wide to be checked", "kernel void k(device ulong4* o [[buffer(0)]]) {}", /cannot be checked/],
  [
    "a float maximum by an atomic",
    "kernel void k(device atomic_float* o [[buffer(0)]]) { atomic_fetch_max_explicit(o, 1.0f, memory_order_relaxed); }",
    /error/,
  ],
  ["simd_sum of 64 bits", "kernel void k(device long* o [[buffer(0)]]) { o[0] = simd_sum(o[1]); }", /no such operation for this type/],
];

describe.skipIf(!host.available)("texts that do not compile", () => {
  test.each(REJECTED)("%s", (_, body, words) => {
    expect(() => compile(`#include <metal_stdlib>\nusing namespace metal;\n${body}\n`, "checked order=forward")).toThrow(words);
  });
});
