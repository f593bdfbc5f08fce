/** Token-level mutations of the stock kernels: whatever is written, the compiler answers with IR that verifies or with a `kernel_error`. */
import { expect, test } from "bun:test";
import { INSTANCES } from "../../../kernels/instances.ts";
import type { Instance } from "../../../kernels/instances.ts";
import { verify } from "../../../src/compiler/ir/verify.ts";
import { emitFunction } from "../../../src/compiler/emit/c/index.ts";
import type { Signature } from "../../../src/compiler/language/index.ts";
import { dim, f32, kernel, out, ptr, u32 } from "../../../src/compiler/language/index.ts";
import type { KernelOptions } from "../../../src/compiler/language/kernel.ts";
import { isaByName } from "../../../src/runtime/cpu/isa.ts";
import { AlloyError } from "../../../src/support/errors.ts";
import { Random, seed } from "../random-kernels.ts";

console.log(`language fuzz: seed ${seed} (ALLOY_TEST_SEED)`);

/** What a kernel keeps to itself. */
interface Inside {
  source: { text: string };
  options: KernelOptions;
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
  ..."threadId simdSum barrier atomicAdd shared local simdShuffle laneId print cumsum memory transpose stride".split(" "),
  ..."zeros full reshape cat slice extract cast bitcast where pack4 f16 i64 u8 length push map constructor __proto__ toString arguments eval".split(
    " ",
  ),
];

/** A kernel that uses much of the thread level. */
const busy = kernel(
  "busy",
  { x: ptr(f32), y: out(f32), bins: ptr(u32), n: dim },
  (al, { x, y, bins, n }) => {
    const block = al.shared([8, 64]);
    const own = al.local(4, al.i32);
    const t = al.threadId();
    al.cooperativeLoad(block, x, { rows: 8, cols: 64, stride: n, validCols: n });
    for (let k = 0; k < 4; k++) al.store(own + k, k * t);
    al.barrier();
    let sum = al.load(block + t);
    for (let k = 0; k < 8; k++) sum += al.load(block + k * 64 + (63 - t));
    const prefix = al.simdPrefixSum(sum) + al.simdShuffleXor(sum, 5);
    let count = 0;
    while (count < (t & 3) && sum > -100) {
      sum -= al.load(own + (count & 3));
      count += 1;
    }
    if (t % 3 === 0) {
      al.atomicAdd(bins + (t & 7), 1);
      al.store(y + t, sum, { mask: t < n });
    } else al.store(y + t, prefix + al.sum(al.loadVector(x + t, 4)));
    al.barrier({ memory: "device" });
    const m = al.simdMma(al.simdLoad(block), al.simdLoad(block + 8, { stride: 64, transpose: true }));
    al.simdStore(y + 64 + al.simdgroupId() * 64, m);
    al.print("sum", sum, al.cumsum(al.arange(3) + t));
  },
  { threads: 64 },
);
const THREAD_LEVEL = [busy];

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
  const { options, signature } = stock as unknown as Inside;
  const body = Object.assign(() => {}, { kernelSource: text });
  try {
    const ir = kernel(stock.name, signature, body, options).specialize(constexprs);
    verify(ir);
    if (ir.threads) emitFunction(ir, isaByName("baseline"), "mutated");
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
  for (const k of THREAD_LEVEL) stock.push(...Array.from({ length: 6 }, () => ({ kernel: k, constexprs: {} })));
  const seen = { ir: 0, error: 0 };
  for (let i = 0; i < 1500; i++) {
    const instance = r.pick(stock);
    const text = mutate((instance.kernel as unknown as Inside).source.text, r);
    const before = process.cpuUsage();
    try {
      seen[compile(instance, text)]++;
    } catch (e) {
      throw new Error(`seed ${seed}, mutation ${i} of ${instance.kernel.name}:\n${text}`, { cause: e });
    }
    // Of the processor, not by the clock: other work on the machine is no fault of the compiler.
    const seconds = process.cpuUsage(before).user / 1e6;
    if (seconds > 10) throw new Error(`seed ${seed}, mutation ${i} of ${instance.kernel.name} took ${seconds.toFixed(1)} s:\n${text}`);
  }
  expect(seen.ir).toBeGreaterThan(5);
  expect(seen.error).toBeGreaterThan(50);
}, 120_000);
