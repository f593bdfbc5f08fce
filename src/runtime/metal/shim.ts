/** The C ABI of objc-shim/alloy_metal.h as TypeScript functions. Failures become AlloyError; handles and addresses are numbers. */
import { dlopen } from "bun:ffi";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { AlloyError } from "../../support/errors.ts";
import type { ErrorCode } from "../../support/errors.ts";
import type { FunctionConstant } from "../device.ts";
import { embeddedShim } from "./library.ts";

/** Must equal ALLOY_METAL_ABI. */
const ABI = 1;
const PENDING = 1;
/** Compilers are talkative: what does not fit is cut. */
const ERROR_BYTES = 16384;
const NAME_BYTES = 256;

const ERROR = ["buffer", "u32"] as const;
const PLAN = ["u64", "buffer", "u32", "u32", "buffer", "u32"] as const;

const SYMBOLS = {
  alloy_metal_abi: { args: [], returns: "i32" },
  alloy_metal_open: { args: ["buffer", ...ERROR], returns: "i32" },
  alloy_metal_close: { args: ["u64"], returns: "void" },
  alloy_metal_facts: { args: ["u64", "buffer", "buffer", "u32"], returns: "void" },
  alloy_metal_buffer_create: { args: ["u64", "u64", "buffer", "buffer", ...ERROR], returns: "i32" },
  alloy_metal_buffer_wrap: { args: ["u64", "u64", "u64", "buffer", "buffer", ...ERROR], returns: "i32" },
  alloy_metal_buffer_free: { args: ["u64", "u64"], returns: "void" },
  alloy_metal_resident: { args: ["u64", "u64", "i32"], returns: "void" },
  alloy_metal_library: { args: ["u64", "buffer", "u64", "u32", "buffer", ...ERROR], returns: "i32" },
  alloy_metal_library_free: { args: ["u64"], returns: "void" },
  alloy_metal_pipeline: { args: ["u64", "u64", "buffer", "buffer", "u32", "buffer", "buffer", ...ERROR], returns: "i32" },
  alloy_metal_pipeline_free: { args: ["u64"], returns: "void" },
  alloy_metal_archive_open: { args: ["u64", "buffer", "buffer", ...ERROR], returns: "i32" },
  alloy_metal_archive_save: { args: ["u64", ...ERROR], returns: "i32" },
  alloy_metal_submit: { args: [...PLAN, "buffer", ...ERROR], returns: "i32" },
  alloy_metal_poll: { args: ["u64", "u64", "buffer", ...ERROR], returns: "i32" },
  alloy_metal_wait: { args: ["u64", "u64", "buffer", ...ERROR], returns: "i32" },
  alloy_metal_profile: { args: [...PLAN, "buffer", ...ERROR], returns: "i32" },
} as const;

/** By code of the header: what it is to us, and what whoever sees it can do. */
const CODES: Readonly<Record<number, { code: ErrorCode; hint?: string }>> = {
  [-1]: { code: "device_error", hint: "Use --device cpu." },
  [-2]: { code: "out_of_memory", hint: "Take a smaller model or context, or close other programs." },
  [-3]: { code: "kernel_error" },
  [-4]: { code: "kernel_error" },
  [-5]: { code: "device_error" },
  [-6]: { code: "device_error", hint: "Run `alloy doctor --selftest`, and use --device cpu meanwhile." },
  [-7]: { code: "device_error", hint: "Start Alloy again." },
  [-8]: { code: "device_error", hint: "Ask for smaller steps (a smaller batch), or use --device cpu." },
  [-9]: { code: "io_error" },
  [-10]: { code: "device_error", hint: "Use --device cpu, and report this." },
};

/** Indices of alloy_metal_facts. */
export const FACT = {
  unified: 1,
  workingSet: 2,
  maxBuffer: 3,
  threadgroupMemory: 4,
  allocated: 5,
  family: 6,
  cores: 8,
  page: 11,
  physicalMemory: 12,
  pressure: 13,
  osVersion: 14,
  archiveHits: 16,
  archiveMisses: 17,
} as const;
const FACTS = 18;

export interface PipelineFacts {
  handle: number;
  /** Threads of a threadgroup that its registers allow. */
  maxThreads: number;
  sharedBytes: number;
  fromArchive: boolean;
}

/** A plan as the header describes it. */
export interface PlanWords {
  words: BigUint64Array;
  count: number;
}

const TYPES = { bool: 0n, i32: 1n, u32: 2n, f32: 3n } as const;

const text = (s: string): Uint8Array => new TextEncoder().encode(`${s}\0`);
/** bun:ffi takes no empty array: a first element that nobody reads stands in. */
const some = (a: BigUint64Array): BigUint64Array => (a.length ? a : new BigUint64Array(1));

/** Path of the shim: ALLOY_METAL_SHIM, the one in this executable, or the one that `build.ts` left in a checkout on a Mac. */
export function shimPath(): string | undefined {
  if (process.env.ALLOY_METAL_SHIM) return process.env.ALLOY_METAL_SHIM;
  if (embeddedShim) return embeddedShim;
  const built = fileURLToPath(new URL("../../../dist/metal/liballoy_metal.dylib", import.meta.url));
  return process.platform === "darwin" && existsSync(built) ? built : undefined;
}

function open(path: string) {
  try {
    return dlopen(path, SYMBOLS);
  } catch (error) {
    throw new AlloyError("device_error", `The Metal shim ${path} could not be loaded: ${(error as Error).message}`, {
      hint: "Build it again with `bun build.ts`, or use --device cpu.",
    });
  }
}

/** One opened GPU. Not to be used after `close`. */
export class Shim {
  private readonly c: ReturnType<typeof open>["symbols"];
  private readonly device: bigint;
  private readonly words = Buffer.alloc(ERROR_BYTES);
  private readonly out = new BigUint64Array(4);
  private readonly second = new BigUint64Array(4);
  private readonly times = new Float64Array(2);

  constructor(path: string) {
    this.c = open(path).symbols;
    const abi = this.c.alloy_metal_abi();
    if (abi !== ABI)
      throw new AlloyError("device_error", `The Metal shim ${path} has interface ${abi}, this program needs ${ABI}`, {
        hint: "Build it again with `bun build.ts`.",
      });
    this.check(this.c.alloy_metal_open(this.out, this.words, ERROR_BYTES), "opening the GPU");
    this.device = this.out[0];
  }

  private check(code: number, what: string): void {
    if (code === 0) return;
    const end = this.words.indexOf(0);
    const words = this.words.toString("utf8", 0, end < 0 ? ERROR_BYTES : end);
    const { code: kind, hint } = CODES[code] ?? { code: "device_error" };
    throw new AlloyError(kind, `Metal: ${what}: ${words || `error ${code}`}`, { hint, data: { metal: code } });
  }

  close(): void {
    this.c.alloy_metal_close(this.device);
  }

  facts(): { name: string; facts: number[] } {
    const facts = new BigUint64Array(FACTS);
    const name = Buffer.alloc(NAME_BYTES);
    this.c.alloy_metal_facts(this.device, facts, name, NAME_BYTES);
    return { name: name.toString("utf8", 0, name.indexOf(0)), facts: Array.from(facts, Number) };
  }

  create(bytes: number): { handle: number; address: number } {
    const code = this.c.alloy_metal_buffer_create(this.device, BigInt(bytes), this.out, this.second, this.words, ERROR_BYTES);
    this.check(code, `a buffer of ${bytes} bytes`);
    return { handle: Number(this.out[0]), address: Number(this.second[0]) };
  }

  wrap(address: number, bytes: number): { handle: number; offset: number } {
    const from = BigInt(address);
    const code = this.c.alloy_metal_buffer_wrap(this.device, from, BigInt(bytes), this.out, this.second, this.words, ERROR_BYTES);
    this.check(code, `sharing ${bytes} bytes of host memory`);
    return { handle: Number(this.out[0]), offset: Number(this.second[0]) };
  }

  free(buffer: number): void {
    this.c.alloy_metal_buffer_free(this.device, BigInt(buffer));
  }

  /** Keeps a buffer wired between runs. */
  resident(buffer: number): void {
    this.c.alloy_metal_resident(this.device, BigInt(buffer), 1);
  }

  /** Throws `kernel_error` with the compiler's words. */
  library(source: string): number {
    const bytes = text(source);
    const size = BigInt(bytes.length - 1);
    this.check(this.c.alloy_metal_library(this.device, bytes, size, 0, this.out, this.words, ERROR_BYTES), "the compiler said");
    return Number(this.out[0]);
  }

  freeLibrary(library: number): void {
    this.c.alloy_metal_library_free(BigInt(library));
  }

  pipeline(library: number, entry: string, constants: readonly FunctionConstant[]): PipelineFacts {
    const given = BigUint64Array.from(constants.flatMap((k) => [BigInt(k.index), TYPES[k.type], constantBits(k)]));
    const facts = this.second;
    const lib = BigInt(library);
    const code = this.c.alloy_metal_pipeline(
      this.device,
      lib,
      text(entry),
      some(given),
      constants.length,
      this.out,
      facts,
      this.words,
      ERROR_BYTES,
    );
    this.check(code, `kernel ${entry}`);
    const [maxThreads, , sharedBytes, archived] = Array.from(facts, Number);
    return { handle: Number(this.out[0]), maxThreads, sharedBytes, fromArchive: archived === 1 };
  }

  freePipeline(pipeline: number): void {
    this.c.alloy_metal_pipeline_free(BigInt(pipeline));
  }

  /** Opens the archive of compiled pipelines; false when this system can keep none. */
  openArchive(path: string): boolean {
    return this.c.alloy_metal_archive_open(this.device, text(path), this.out, this.words, ERROR_BYTES) === 0;
  }

  /** False when it could not be written: pipelines are compiled again next time. */
  saveArchive(): boolean {
    return this.c.alloy_metal_archive_save(this.device, this.words, ERROR_BYTES) === 0;
  }

  /** Starts a plan; the result is to be ended by `poll` or `wait`. */
  submit(plan: PlanWords, slots: BigUint64Array): bigint {
    const { words, count } = plan;
    const code = this.c.alloy_metal_submit(
      this.device,
      some(words),
      words.length,
      count,
      some(slots),
      slots.length,
      this.out,
      this.words,
      ERROR_BYTES,
    );
    this.check(code, "starting a plan");
    return this.out[0];
  }

  /** True when the submission is over. Throws what went wrong on the GPU. */
  poll(submission: bigint): boolean {
    const code = this.c.alloy_metal_poll(this.device, submission, this.times, this.words, ERROR_BYTES);
    if (code === PENDING) return false;
    this.check(code, "running a plan");
    return true;
  }

  wait(submission: bigint): void {
    this.check(this.c.alloy_metal_wait(this.device, submission, this.times, this.words, ERROR_BYTES), "running a plan");
  }

  /** GPU time of the submission that ended last, in milliseconds. */
  get gpuMs(): number {
    return (this.times[1] - this.times[0]) * 1000;
  }

  /** Nanoseconds of every dispatch. */
  profile(plan: PlanWords, slots: BigUint64Array): Float64Array {
    const ns = new Float64Array(Math.max(1, plan.count));
    const { words, count } = plan;
    const code = this.c.alloy_metal_profile(
      this.device,
      some(words),
      words.length,
      count,
      some(slots),
      slots.length,
      ns,
      this.words,
      ERROR_BYTES,
    );
    this.check(code, "timing a plan");
    return ns;
  }
}

const scratch = new DataView(new ArrayBuffer(4));
function constantBits({ type, value }: FunctionConstant): bigint {
  if (type === "f32") scratch.setFloat32(0, Number(value));
  else scratch.setInt32(0, Number(value));
  return BigInt(scratch.getUint32(0));
}
