/** The shim over time: what is in flight, what fails, what is kept on disk, and that nothing leaks. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { dlopen } from "bun:ffi";
import type { Pointer } from "bun:ffi";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FACT, Shim } from "../../src/runtime/metal/shim.ts";
import { frameworks } from "./frameworks.ts";
import { plan, slots } from "./plans.ts";
import { failure, TEXT, useShim } from "./shim-harness.ts";

const host = frameworks();
if (!host.available) console.log(host.why);
setDefaultTimeout(120_000);

describe.skipIf(!host.available)("the shim", () => {
  if (!host.available) return;
  const { fake, shim: path } = host;
  const s = useShim(path, fake);

  /** A plan that adds one to every element of a new buffer. */
  const increment = (n = 64) => {
    const a = s.floats(new Float32Array(n));
    const one = s.floats(new Float32Array(n).fill(1));
    const buffers = [a.handle, one.handle, a.handle];
    return {
      view: a.view,
      plan: plan({ pipeline: s.pipeline("add"), perThread: true, grid: [n], threads: [64], scalars: [n, { f32: 1 }], buffers }),
    };
  };

  test("does not block while the GPU works; submissions run in order", () => {
    const { view, plan: p } = increment();
    fake.inject("hold=1 delay=20");
    const submitted = [1, 2, 3].map(() => s.gpu.submit(p, slots()));
    expect(s.gpu.facts().facts[15]).toBe(3);
    expect(s.gpu.poll(submitted[2])).toBe(false);
    fake.inject("hold=0");
    while (!s.gpu.poll(submitted[0])) Bun.sleepSync(1);
    expect(view[0]).toBeGreaterThanOrEqual(1);
    s.gpu.wait(submitted[2]);
    expect(view[0]).toBe(3);
    expect(s.gpu.gpuMs).toBeGreaterThanOrEqual(20);
    s.gpu.wait(submitted[1]);
    expect(failure(() => s.gpu.poll(submitted[1]))).toEqual([-5, expect.stringContaining("was reported already")]);
    expect(s.gpu.facts().facts[15]).toBe(0);
  });

  test("tells when too many are in flight", () => {
    const { view, plan: p } = increment();
    fake.inject("hold=1");
    const submitted = Array.from({ length: 64 }, () => s.gpu.submit(p, slots()));
    expect(failure(() => s.gpu.submit(p, slots()))).toEqual([-5, expect.stringContaining("64 submissions are in flight")]);
    fake.inject("hold=0");
    for (const one of submitted) s.gpu.wait(one);
    expect(view[0]).toBe(64);
    s.gpu.wait(s.gpu.submit(p, slots()));
  });

  test("closing waits for what is in flight, and memory lives until it is done", () => {
    const other = new Shim(path);
    const { view, plan: p } = increment();
    fake.inject("delay=30");
    other.submit(p, slots());
    other.submit(p, slots());
    other.close();
    expect(view[0]).toBe(2);
  });

  test("a buffer that is freed in flight outlives its use", () => {
    const b = s.gpu.create(1 << 21);
    const n = 1 << 19;
    const add = { pipeline: s.pipeline("add"), perThread: true, grid: [n], threads: [256], scalars: [n, { f32: 1 }] };
    const before = s.gpu.facts().facts[FACT.allocated];
    const submitted = s.gpu.submit(plan({ ...add, buffers: [b.handle, b.handle, b.handle] }), slots());
    s.gpu.free(b.handle);
    s.gpu.wait(submitted);
    fake.live();
    expect(s.gpu.facts().facts[FACT.allocated]).toBe(before - (1 << 21));
  });

  test("times dispatches", () => {
    const n = 1 << 16;
    const a = s.floats(new Float32Array(n));
    const add = {
      pipeline: s.pipeline("add"),
      perThread: true,
      threads: [256],
      buffers: [a.handle, a.handle, a.handle],
      scalars: [n, { f32: 1 }],
    };
    const ns = s.gpu.profile(plan({ ...add, grid: [n] }, { ...add, grid: [16], barrier: true }, { ...add, grid: [0] }), slots());
    expect(ns).toHaveLength(3);
    expect(ns[0]).toBeGreaterThan(0);
    expect(ns[1]).toBeGreaterThan(0);
    expect(ns[2]).toBeGreaterThanOrEqual(0);
    fake.inject("gpu-timeout@1");
    expect(failure(() => s.gpu.profile(plan({ ...add, grid: [n] }, { ...add, grid: [n] }), slots()))[0]).toBe(-8);
  });

  test("every failure comes out as a code with a text, and the next try works", () => {
    const { view, plan: p } = increment();
    const submit = (): void => s.gpu.wait(s.gpu.submit(p, slots()));
    const compile = (): void => s.gpu.freeLibrary(s.gpu.library(TEXT));
    const open = (): void => new Shim(path).close();
    const cases: [string, () => void, number, RegExp][] = [
      ["buffer", () => s.gpu.free(s.gpu.create(4096).handle), -2, /no memory for a buffer of 4096 bytes/],
      ["wrap", () => s.gpu.free(s.gpu.wrap(1 << 20, 4096).handle), -2, /cannot use 16384 bytes of memory at 0x100000/],
      ["compile", compile, -3, /program_source:1:1: error: a test asked for this/],
      ["exception", compile, -10, /Metal threw NSInternalInconsistencyException: a test asked for this/],
      ["function", () => s.pipeline("add"), -4, /No function add can be made/],
      ["pipeline", () => s.pipeline("add"), -4, /No pipeline can be made of add: Compiler encountered an internal error/],
      ["command-buffer", submit, -2, /no command buffer/],
      ["encoder", submit, -2, /no command buffer/],
      ["gpu-timeout", submit, -8, /GPU Timeout/],
      ["gpu-memory", submit, -2, /Insufficient Memory/],
      ["gpu-fault", submit, -6, /Address Fault/],
      ["gpu-internal", submit, -6, /Internal Error/],
      ["no-device", open, -1, /no Metal device/],
      ["os=130600", open, -1, /needs macOS 14 or later; this is 13.6/],
    ];
    for (const [words, act, code, said] of cases) {
      fake.inject(words);
      const [got, text] = failure(act);
      expect(text).toMatch(said);
      expect([words, got]).toEqual([words, code]);
      fake.inject("reset");
      act();
    }
    expect(view[0]).toBe(6);
  });

  test("a device that is lost stays lost until it is opened again", () => {
    const { plan: p } = increment();
    const other = new Shim(path);
    fake.inject("device-lost");
    const run = (gpu: Shim) => failure(() => gpu.wait(gpu.submit(p, slots())))[0];
    expect([run(other), run(other)]).toEqual([-7, -7]);
    other.close();
    expect(run(s.gpu)).toBe(0);
  });

  test("works without what only macOS 15 has", () => {
    fake.inject("os=140500");
    const old = new Shim(path);
    expect(old.facts().facts.slice(10, 11)).toEqual([0]);
    const b = old.create(64);
    old.resident(b.handle);
    old.freeLibrary(old.library(TEXT));
    old.free(b.handle);
    old.close();
    expect(s.gpu.facts().facts.slice(10, 11)).toEqual([1]);
  });

  test("asks for safe math unless told otherwise, on old systems and new ones", () => {
    const { symbols: c } = dlopen(path, {
      alloy_metal_open: { args: ["buffer", "buffer", "u32"], returns: "i32" },
      alloy_metal_close: { args: ["u64"], returns: "void" },
      alloy_metal_library: { args: ["u64", "buffer", "u64", "u32", "buffer", "buffer", "u32"], returns: "i32" },
      alloy_metal_library_free: { args: ["u64"], returns: "void" },
    });
    const text = Buffer.from(TEXT);
    const error = Buffer.alloc(256);
    for (const os of [140000, 150000]) {
      for (const fast of [0, 1]) {
        fake.inject(`os=${os} fast-math=${fast}`);
        const out = new BigUint64Array(2);
        expect(c.alloy_metal_open(out, error, error.length)).toBe(0);
        const library = out.subarray(1);
        expect(c.alloy_metal_library(out[0], text, BigInt(text.length), fast, library, error, error.length)).toBe(0);
        expect(fake.all()).toEqual([]);
        c.alloy_metal_library_free(library[0]);
        c.alloy_metal_close(out[0]);
      }
    }
  });

  test("cuts words that do not fit between two characters", () => {
    const { symbols: c } = dlopen(path, {
      alloy_metal_library: { args: ["u64", "buffer", "u64", "u32", "buffer", "buffer", "u32"], returns: "i32" },
      alloy_metal_open: { args: ["buffer", "buffer", "u32"], returns: "i32" },
      alloy_metal_close: { args: ["u64"], returns: "void" },
    });
    const out = new BigUint64Array(2);
    c.alloy_metal_open(out, Buffer.alloc(8), 8);
    const text = Buffer.from("kernel void k() { größe = 1; }");
    const whole = Buffer.alloc(4096);
    expect(c.alloy_metal_library(out[0], text, BigInt(text.length), 0, out, whole, whole.length)).toBe(-3);
    const all = whole.toString("utf8", 0, whole.indexOf(0));
    const wide = whole.indexOf("ö");
    expect(wide).toBeGreaterThan(0);
    for (const size of [1, 2, wide, wide + 1, wide + 2, wide + 3, wide + 4]) {
      const error = Buffer.alloc(size + 1, 0x7f);
      c.alloy_metal_library(out[0], text, BigInt(text.length), 0, out, error, size);
      const said = error.subarray(0, error.indexOf(0));
      expect(said.length).toBeLessThan(size);
      expect(all.startsWith(new TextDecoder("utf-8", { fatal: true }).decode(said))).toBe(true);
      expect(error[size]).toBe(0x7f);
    }
    // Bytes that are not UTF-8.
    expect(c.alloy_metal_library(out[0], Buffer.from([0xff, 0x20]), 2n, 0, out, whole, whole.length)).toBe(-3);
    expect(whole.toString("utf8", 0, whole.indexOf(0))).toBe("The text is not UTF-8");
    c.alloy_metal_close(out[0]);
  });

  test("buffers that are kept resident go when they are freed", () => {
    const { plan: p } = increment();
    const before = fake.live().HostBuffer;
    const handles = Array.from({ length: 5 }, () => s.gpu.create(64).handle);
    for (const h of handles) s.gpu.resident(h);
    s.gpu.wait(s.gpu.submit(p, slots()));
    s.gpu.free(handles[0]);
    expect(fake.live().HostBuffer).toBe(before + 4);
    for (const h of handles.slice(1)) s.gpu.free(h);
    expect(fake.live().HostBuffer).toBe(before);
    // And when no plan ran in between.
    const h = s.gpu.create(64).handle;
    s.gpu.resident(h);
    s.gpu.free(h);
    expect(fake.live().HostBuffer).toBe(before);
  });

  describe("with a binary archive", () => {
    const folder = mkdtempSync(join(tmpdir(), "alloy-archive-"));
    const file = join(folder, "kernels.metalarchive");
    const archived = (): { loaded: boolean; hits: number; misses: number; saved: boolean } => {
      const gpu = new Shim(path);
      const loaded = gpu.openArchive(file);
      const library = gpu.library(TEXT);
      for (const name of ["add", "sum"]) {
        const { handle } = gpu.pipeline(library, name, []);
        gpu.freePipeline(handle);
      }
      gpu.freeLibrary(library);
      const { facts } = gpu.facts();
      const saved = gpu.saveArchive();
      gpu.close();
      return { loaded, hits: facts[FACT.archiveHits], misses: facts[FACT.archiveMisses], saved };
    };

    test("pipelines come from it the second time", () => {
      expect(archived()).toEqual({ loaded: true, hits: 0, misses: 2, saved: true });
      expect(archived()).toEqual({ loaded: true, hits: 2, misses: 0, saved: true });
      expect(readdirSync(folder)).toEqual(["kernels.metalarchive"]);
    });

    test("a broken file is replaced", () => {
      const whole = readFileSync(file);
      for (const broken of [
        Buffer.from(""),
        Buffer.from("nonsense"),
        whole.subarray(0, whole.length - 3),
        whole.map((b, i) => (i === 40 ? b ^ 1 : b)),
      ]) {
        writeFileSync(file, broken);
        expect(archived()).toEqual({ loaded: true, hits: 0, misses: 2, saved: true });
        expect(readFileSync(file)).toEqual(whole);
      }
    });

    test("one that cannot be added to, read or written costs nothing but time", () => {
      rmSync(file);
      fake.inject("archive-add*2");
      expect(archived()).toEqual({ loaded: true, hits: 0, misses: 2, saved: true });
      fake.inject("archive-write");
      expect(archived()).toEqual({ loaded: true, hits: 0, misses: 2, saved: false });
      fake.inject("archive-open*2");
      expect(archived()).toEqual({ loaded: false, hits: 0, misses: 0, saved: true });
      expect(readdirSync(folder)).toEqual([]);
      rmSync(folder, { recursive: true });
    });
  });

  test("kernels may read pages that are mapped for reading, and a write to them is found", () => {
    const libc = dlopen("libc.so.6", {
      mmap: { args: ["u64", "u64", "i32", "i32", "i32", "i64"], returns: "ptr" },
      munmap: { args: ["ptr", "u64"], returns: "i32" },
    }).symbols;
    // PROT_READ; MAP_PRIVATE | MAP_ANONYMOUS. Large enough that a whole page of a Mac lies within.
    const bytes = 8 * 16384;
    const memory = Number(libc.mmap(0n, BigInt(bytes), 1, 0x22, -1, 0n));
    const start = Math.ceil(memory / 16384) * 16384;
    const n = 16384;
    const { handle, offset } = s.gpu.wrap(start, 4 * n);
    const mapped = { handle, offset };
    const a = s.floats(new Float32Array(n));
    const add = { pipeline: s.pipeline("add"), perThread: true, grid: [n], threads: [256], scalars: [n, { f32: 1 }] };
    s.run({ ...add, buffers: [mapped, mapped, a.handle] });
    expect(failure(() => s.run({ ...add, buffers: [a.handle, a.handle, mapped] }))[0]).toBe(-6);
    expect(fake.all()).toEqual([expect.stringContaining("which is bound for reading only")]);
    s.gpu.free(handle);
    libc.munmap(memory as Pointer, BigInt(bytes));
  });

  test("failures can be asked for in the environment", () => {
    const script = `
      import { Shim } from "${join(import.meta.dir, "../../src/runtime/metal/shim.ts")}";
      try { new Shim(process.argv[1]); } catch (error) { console.log(error.message); }`;
    const env = { ...process.env, ALLOY_METAL_HOST_INJECT: "no-device" };
    const r = Bun.spawnSync([process.execPath, "-e", script, path], { env, stderr: "pipe" });
    expect(r.stdout.toString()).toContain("This system has no Metal device");
  });

  test("3000 submissions under garbage collection leak nothing", () => {
    const { view, plan: p } = increment(32);
    const before = fake.live();
    const open: bigint[] = [];
    for (let i = 0; i < 3000; i++) {
      open.push(s.gpu.submit(p, slots()));
      if (open.length > 3) s.gpu.wait(open.shift()!);
      if (i % 100 === 0) Bun.gc(true);
    }
    for (const one of open) s.gpu.wait(one);
    expect(view[0]).toBe(3000);
    expect(fake.live()).toEqual(before);
  });

  test("two workers use a device each", async () => {
    const jobs = [0, 1].map((seed) => {
      const worker = new Worker(join(import.meta.dir, "shim-worker.ts"));
      return new Promise<number>((resolve, reject) => {
        worker.onmessage = ({ data }: MessageEvent<number>) => {
          worker.terminate();
          resolve(data);
        };
        worker.onerror = (e) => reject(new Error(e.message));
        worker.postMessage({ path, seed });
      });
    });
    expect(await Promise.all(jobs)).toEqual([300, 300]);
  });
});
