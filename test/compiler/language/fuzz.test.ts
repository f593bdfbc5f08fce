/** Token-level mutations of the stock kernels: whatever is written, the compiler answers with IR that verifies or with a `kernel_error`. */
import { expect, test } from "bun:test";
import { INSTANCES } from "../../../kernels/instances.ts";
import type { Instance } from "../../../kernels/instances.ts";
import { verify } from "../../../src/compiler/ir/verify.ts";
import type { Signature, Uses } from "../../../src/compiler/language/index.ts";
import { kernel } from "../../../src/compiler/language/index.ts";
import { AlloyError } from "../../../src/support/errors.ts";
import { Random, seed } from "../random-kernels.ts";

console.log(`language fuzz: seed ${seed} (ALLOY_TEST_SEED)`);

/** What a kernel keeps to itself. */
interface Inside {
  source: { text: string };
  uses: Uses;
  signature: Signature;
}

const TOKENS = /\s+|[A-Za-z_$][\w$]*|\d[\w.]*|"[^"]*"|=>|[-+*/%&|^<>=!]=?=?|[^\s\w]/g;
/** Tokens put in the place of others, besides those of the kernel itself. */
const FOREIGN = [
  ..."( ) [ ] { } , ; : ? . => = == === ! ~ + - * / % ** & | ^ && || ?? < > <= >= << >> >>> ++ -- += -= *= ?. ... ` '".split(" "),
  ..."let const var if else for while do switch case break continue return function class new this typeof void delete in of await yield async".split(
    " ",
  ),
  ..."al Math undefined null true false NaN Infinity 0 1 -1 0.5 1e10 3n 4096 99999999999 programId arange load store sum max dot unroll".split(
    " ",
  ),
  ..."zeros full reshape cat slice extract cast bitcast where pack4 f16 i64 u8 length push map constructor __proto__ toString arguments eval".split(
    " ",
  ),
];

function mutate(text: string, r: Random): string {
  const tokens = text.match(TOKENS)!;
  for (let n = r.int(1, 3); n > 0; n--) {
    const at = r.int(0, tokens.length - 1);
    const other = r.next() < 0.5 ? r.pick(tokens) : ` ${r.pick(FOREIGN)} `;
    const how = r.int(0, 3);
    if (how === 0) tokens.splice(at, 1);
    else if (how === 1) tokens.splice(at, 0, other);
    else if (how === 2) tokens[at] = other;
    else {
      const to = r.int(0, tokens.length - 1);
      [tokens[at], tokens[to]] = [tokens[to], tokens[at]];
    }
  }
  return tokens.join("");
}

/** Compiles `text` in the place of a stock kernel's own. */
function compile({ kernel: stock, constexprs }: Instance, text: string): "ir" | "error" {
  const { uses, signature } = stock as unknown as Inside;
  const body = Object.assign(() => {}, { kernelSource: text });
  try {
    verify(kernel(stock.name, signature, body, { uses }).specialize(constexprs));
    return "ir";
  } catch (e) {
    if (e instanceof AlloyError && e.code === "kernel_error") return "error";
    throw e;
  }
}

test("mutated kernels compile or give a kernel_error", () => {
  const r = new Random(seed);
  const names = new Set<string>();
  // One instance of each kernel.
  const stock = INSTANCES.filter(({ kernel: k }) => !names.has(k.name) && names.add(k.name));
  const seen = { ir: 0, error: 0 };
  const end = performance.now() + 4000;
  for (let i = 0; performance.now() < end && i < 6000; i++) {
    const instance = r.pick(stock);
    const text = mutate((instance.kernel as unknown as Inside).source.text, r);
    const start = performance.now();
    try {
      seen[compile(instance, text)]++;
    } catch (e) {
      throw new Error(`seed ${seed}, mutation ${i} of ${instance.kernel.name}:\n${text}`, { cause: e });
    }
    const ms = performance.now() - start;
    if (ms > 5000) throw new Error(`seed ${seed}, mutation ${i} of ${instance.kernel.name} took ${ms.toFixed(0)} ms:\n${text}`);
  }
  expect(seen.ir).toBeGreaterThan(5);
  expect(seen.error).toBeGreaterThan(50);
}, 60_000);
