/** Printer, parser and verifier of the tile IR. */
import { describe, expect, test } from "bun:test";
import { isDeepStrictEqual } from "node:util";
import { INSTANCES } from "../../../kernels/instances.ts";
import { Builder } from "../../../src/compiler/ir/build.ts";
import { parse } from "../../../src/compiler/ir/parse.ts";
import { print } from "../../../src/compiler/ir/print.ts";
import type { KernelIR, Value } from "../../../src/compiler/ir/types.ts";
import { verify } from "../../../src/compiler/ir/verify.ts";
import { kernelOf, Random, randomSource, seed } from "../random-kernels.ts";
import { AlloyError } from "../../../src/support/errors.ts";

function roundTrip(ir: KernelIR): void {
  const text = print(ir);
  const back = parse(text, ir.source);
  expect(isDeepStrictEqual(back, ir)).toBe(true);
  expect(print(back)).toBe(text);
}

describe("text", () => {
  test("every stock kernel reads back equal", () => {
    for (const { kernel, constexprs } of INSTANCES) roundTrip(kernel.specialize(constexprs));
  }, 120_000);

  test(`random kernels read back equal (seed ${seed})`, () => {
    const r = new Random(seed);
    let compiled = 0;
    for (let i = 0; i < 60; i++) {
      try {
        roundTrip(kernelOf(randomSource(r)).specialize());
        compiled++;
      } catch (e) {
        if (!(e instanceof AlloyError && e.code === "kernel_error")) throw e;
      }
    }
    expect(compiled).toBeGreaterThan(20);
  });

  test("a kernel of the thread level", () => {
    const b = new Builder();
    const i32 = (n: number): Value => b.const({ dtype: "i32", shape: [] }, n);
    b.params.push({ name: "x", kind: "ptr", dtype: "f32", output: false });
    b.params.push({
      name: "n",
      kind: "constant",
      dtype: "i32",
      output: false,
      value: b.value({ dtype: "i32", shape: [] }, "n"),
      constant: 7,
    });
    b.params.push({ name: "tile", kind: "shared", dtype: "f32", output: false, elements: 256 });
    b.facts.threads = [16, 16, 1];
    b.facts.prints = [
      {
        label: 'a "label"',
        types: [
          { dtype: "f32", shape: [2] },
          { dtype: "i32", shape: [] },
        ],
        line: 4,
      },
    ];
    const t = b.one("threadId", [], { axis: 0 });
    const x = b.one("load", [t], { param: 0 });
    b.emit("store", [t, b.one("simdShuffle", [x, i32(1)], { mode: "xor" })], { param: 2 });
    b.emit("barrier", [], { scope: "shared" });
    b.one("atomic", [i32(0), b.one("simdReduce", [x], { kind: "sum" })], { param: 0, kind: "add", masked: false });
    b.one("scan", [b.one("arange", [], { start: 0, n: 4 })], { kind: "max", axis: 0, reverse: true, exclusive: false });
    const ir = b.finish("k", {});
    verify(ir);
    roundTrip(ir);
    expect(print(ir)).toContain(
      "  threads [16, 16, 1]\n  param x: ptr f32\n  param n: constant i32 = %n.0 {value = 7}\n  param tile: shared f32[256]\n",
    );
    ir.threads = undefined;
    expect(() => verify(ir)).toThrow("shared memory in a kernel without threads");
  });

  test("numbers, names and lists of every form", () => {
    const b = new Builder();
    const v = b.const({ dtype: "f32", shape: [2] }, -0);
    v.name = "a name";
    for (const n of [NaN, Infinity, -Infinity, 1e-40, -2.5e300]) b.const({ dtype: "f64", shape: [] }, n);
    b.const({ dtype: "i64", shape: [] }, -(2n ** 63n));
    b.const({ dtype: "bool", shape: [] }, true).name = "größe";
    b.loc = { line: 3, column: 0 };
    b.one("byteLookup", [b.const({ dtype: "i32", shape: [4] }, -1)], { table: [-128, 255, ...Array.from({ length: 14 }, () => 0)] });
    const ir = b.finish("k", { A: -0, s: 'x"y{', f: false });
    verify(ir);
    roundTrip(ir);
    expect(print(ir)).toMatchInlineSnapshot(`
      "kernel k {A = -0, s = "x\\"y{", f = false}
      {
        %"a name".0: f32[2] = const {value = -0}
        %1: f64 = const {value = NaN}
        %2: f64 = const {value = Infinity}
        %3: f64 = const {value = -Infinity}
        %4: f64 = const {value = 1e-40}
        %5: f64 = const {value = -2.5e+300}
        %6: i64 = const {value = -9223372036854775808n}
        %"größe".7: bool = const {value = true}
        %8: i32[4] = const {value = -1} @3:0
        %9: i32[4] = byteLookup %8 {table = [-128, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]} @3:0
      }
      "
    `);
  });

  test("mistakes name their line", () => {
    const bad = (text: string): string => {
      try {
        parse(text);
      } catch (e) {
        return (e as AlloyError).message;
      }
      return "read";
    };
    expect(bad("kernel k {}\n{\n  %1: f32 = neg %0\n}")).toBe("IR text line 3: expected a value defined before, found %0");
    expect(bad("kernel k {}\n{\n  %1: f31 = const {value = 1}\n}")).toBe("IR text line 3: expected a type, found f31");
    expect(bad("kernel k {}\n{")).toBe("IR text line 2: expected more text, found the end");
    expect(bad("kernel k {}\n{ ; }")).toContain("IR text line 2: cannot read");
    expect(bad("kernel k {}\n{\n  store y[%0]\n}")).toBe("IR text line 3: expected a parameter's name, found y");
  });
});

describe("verifier", () => {
  const rule = (body: string): string => {
    try {
      verify(parse(`kernel k {}\n  param x: ptr f32\n  param n: dim i32 = %n.0\n{\n${body}\n}`), "test");
    } catch (e) {
      return (e as AlloyError).message;
    }
    return "ok";
  };
  test("accepts what is right", () => {
    expect(rule("%1: f32 = load x[%n.0]\nstore x[%n.0], %1")).toBe("ok");
  });
  test("names the broken rule", () => {
    const rules = [
      "%1: f32 = neg %n.0",
      "%1: f32 = frobnicate %n.0",
      "%1: i32 = add %n.0",
      "%1: i32[2] = add %n.0, %n.0",
      "%1: bool = const {value = 1}",
      "%0: i32 = const {value = 1}",
      "%1: i32 = const {value = 1}\n%1: i32 = const {value = 1}",
      "yield",
      "for %n.0, %n.0, %n.0 {down = false} (%1: i32) {\n}",
      "for %n.0, %n.0, %n.0 {down = false} (%1: i64) {\nyield\n}",
      "for %n.0, %n.0, %n.0 {down = false} (%1: i32) {\n%2: i32 = neg %1\nyield\n}\n%3: i32 = neg %2",
      "if %n.0 () {\nyield\n} () {\nyield\n}",
      "%1: bool = const {value = true}\n%2: i32 = if %1 () {\nyield %n.0\n} () {\nyield\n}",
      "%2: i32 = while %n.0 (%3: i32) {\nyield %3\n} (%4: i32) {\nyield %4\n}",
    ].map(rule);
    expect(`\n${rules.join("\n")}\n`).toMatchInlineSnapshot(`
      "
      IR of kernel k after test at neg %1: results are typed (f32), expected (i32)
      IR of kernel k after test at frobnicate %1: there is no op frobnicate
      IR of kernel k after test at add %1: 1 operands
      IR of kernel k after test at add %1: results are typed (i32[2]), expected (i32)
      IR of kernel k after test at const %1: 1 is no constant of bool
      IR of kernel k after test at const %0: two values have the id 0
      IR of kernel k after test at const %1: two values have the id 1
      IR of kernel k after test at yield: yield outside of a region
      IR of kernel k after test at for: a region ends with a yield
      IR of kernel k after test at for: block arguments are (i64), expected (i32)
      IR of kernel k after test at neg %3: operand %2 is not defined here
      IR of kernel k after test at if: the condition is (i32), expected (bool)
      IR of kernel k after test at if %2: a way yields (), expected (i32)
      IR of kernel k after test at while %2: the condition yields (i32), expected (bool, i32)
      "
    `);
  });
});
