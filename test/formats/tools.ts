/** Things that the tests of model files share: a seeded generator, temporary folders, and GGUF files built byte by byte. */
import { expect } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AlloyError, type ErrorCode } from "../../src/support/errors.ts";

export const DEMO = join(import.meta.dir, "../../assets/alloy-demo-q8_0.gguf");
export const FIXTURES = join(import.meta.dir, "../fixtures/golden");
/** Material that is not part of the repository; tests that want it skip without it. */
export const SHARED = join(import.meta.dir, "../../../shared");

/** Uniform numbers in [0, 1) from a seed (mulberry32). */
export function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The seed of this run: SEED from the environment or a fresh one, printed so that a failure can be repeated. */
export function printedSeed(what: string): number {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`${what}: SEED=${seed}`);
  return seed;
}

/** Values as weights are: roughly normal, with a different spread every 64 and a few outliers. */
export function weights(count: number, random: () => number): Float32Array {
  const out = new Float32Array(count);
  let spread = 1;
  for (let i = 0; i < count; i++) {
    if (i % 64 === 0) spread = 0.02 * 2 ** (4 * random() - 2);
    const normal = random() + random() + random() + random() - 2;
    out[i] = spread * normal * (random() < 0.005 ? 5 : 1);
  }
  return out;
}

/** Run with a fresh folder that is gone afterwards. */
export function inFolder<T>(use: (folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), "alloy-test-"));
  const clean = () => rmSync(folder, { recursive: true, force: true });
  let result: T;
  try {
    result = use(folder);
  } catch (e) {
    clean();
    throw e;
  }
  if (result instanceof Promise) return result.finally(clean) as T;
  clean();
  return result;
}

/** The AlloyError that `run` throws; fails when it throws nothing or something else. */
export function alloyError(run: () => unknown, code?: ErrorCode): AlloyError {
  let thrown: unknown;
  try {
    run();
  } catch (e) {
    thrown = e;
  }
  if (!(thrown instanceof AlloyError)) throw new Error(`expected an AlloyError, got ${String(thrown)}`);
  if (code) expect(thrown.code).toBe(code);
  return thrown;
}

/** Builds a GGUF file piece by piece, right or wrong. */
export class RawGguf {
  #parts: Buffer[] = [];

  static header(tensors: number | bigint, values: number | bigint, version = 3): RawGguf {
    return new RawGguf().text("GGUF").u32(version).u64(tensors).u64(values);
  }

  text(text: string): this {
    this.#parts.push(Buffer.from(text));
    return this;
  }

  bytes(count: number, fill = 0): this {
    this.#parts.push(Buffer.alloc(count, fill));
    return this;
  }

  u8(value: number): this {
    return this.bytes(1, value);
  }

  u32(value: number): this {
    const b = Buffer.alloc(4);
    b.writeUInt32LE(value >>> 0);
    this.#parts.push(b);
    return this;
  }

  u64(value: number | bigint): this {
    const b = Buffer.alloc(8);
    b.writeBigUInt64LE(BigInt(value));
    this.#parts.push(b);
    return this;
  }

  string(text: string): this {
    return this.u64(Buffer.byteLength(text)).text(text);
  }

  tensor(name: string, dims: (number | bigint)[], type: number, offset: number | bigint): this {
    this.string(name).u32(dims.length);
    for (const dim of dims) this.u64(dim);
    return this.u32(type).u64(offset);
  }

  /** Zeros up to the next multiple of `alignment`, then `count` bytes of data. */
  data(count: number, alignment = 32): this {
    const length = this.buffer().length;
    return this.bytes(Math.ceil(length / alignment) * alignment - length).bytes(count, 1);
  }

  buffer(): Buffer {
    return Buffer.concat(this.#parts);
  }

  write(folder: string, name = "model.gguf"): string {
    const path = join(folder, name);
    writeFileSync(path, this.buffer());
    return path;
  }
}
