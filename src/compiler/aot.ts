/** The kernels library: every stock kernel instance for every instruction set of a platform, and the native runtime, in one shared library. */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { basename, join } from "node:path";
import { AlloyError } from "../support/errors.ts";
import { cacheDir } from "../support/paths.ts";
import { isaFlags, lookupFunction, systemCompiler } from "../runtime/cpu/cc.ts";
import { libraryName, sourceHash } from "../runtime/cpu/development.ts";
import { settleHeader } from "../runtime/cpu/intrinsics.ts";
import type { IsaName } from "../runtime/cpu/isa.ts";
import { COMMON_FLAGS, ISAS } from "../runtime/cpu/isa.ts";
import { RUNTIME_SYMBOLS, runtimeSource } from "../runtime/cpu/native.ts";
import { needed } from "../runtime/cpu/needed.ts";
import { emitFunction, prelude } from "./emit/c/index.ts";
import type { AnyKernel, Constexprs } from "./language/kernel.ts";

/** A kernel with its compile-time values. */
export interface KernelInstance {
  kernel: AnyKernel;
  constexprs: Constexprs;
  /** The one instruction set that it is compiled for; undefined: all. */
  isa?: IsaName;
}

export interface LibraryOptions {
  instances: readonly KernelInstance[];
  /** Instruction sets; default: all of the platform. */
  isas?: readonly IsaName[];
  /** Platforms like "linux-x64"; default: this one. */
  targets?: readonly string[];
  /** C compiler and its first arguments per platform; default: the system's for this platform, a GNU cross compiler for another. */
  compilers?: Readonly<Record<string, readonly string[]>>;
  log?: (line: string) => void;
}

const CROSS: Readonly<Record<string, readonly string[]>> = {
  "linux-arm64": ["aarch64-linux-gnu-gcc"],
  "linux-x64": ["x86_64-linux-gnu-gcc"],
};

/** Kernels per C file: enough to share the cost of the prelude, few enough to keep all cores busy. */
const PER_FILE = 10;

/**
 * Builds `outDir/liballoy-OS-ARCH.so` (.dylib) for each target and beside it `….hash`, the hash of the sources. Objects are cached, so a
 * second build compiles only what changed. Returns the paths. Throws `kernel_error` with the compiler's words, `bad_argument` when a
 * target has no compiler here.
 */
export async function buildKernelsLibrary(outDir: string, options: LibraryOptions): Promise<string[]> {
  const host = `${process.platform}-${process.arch}`;
  const hash = sourceHash();
  mkdirSync(outDir, { recursive: true });
  const paths: string[] = [];
  for (const target of options.targets ?? [host]) {
    const started = performance.now();
    const compiler = options.compilers?.[target] ?? (target === host ? hostCompiler() : CROSS[target]);
    if (!compiler || !Bun.which(compiler[0])) {
      throw new AlloyError("bad_argument", `There is no C compiler for ${target}`, {
        hint: compiler ? `Install ${compiler[0]}.` : `Give one in the compilers option.`,
      });
    }
    const path = join(outDir, libraryName(target));
    const kernels = await buildOne(path, target, compiler, options);
    writeFileSync(`${path}.hash`, hash);
    paths.push(path);
    options.log?.(`${path}: ${kernels} kernels in ${((performance.now() - started) / 1000).toFixed(1)} s`);
  }
  return paths;
}

function hostCompiler(): readonly string[] | undefined {
  const c = systemCompiler();
  return c && [c.path];
}

interface Job {
  /** Object file in the cache. */
  object: string;
  text: string;
  flags: readonly string[];
  /** The text without what it does not use, which is compiled in a part of the time. */
  short?: () => string;
}

async function buildOne(path: string, target: string, compiler: readonly string[], { instances, isas }: LibraryOptions): Promise<number> {
  const [os, arch] = target.split("-");
  const cache = join(cacheDir(), "objects");
  mkdirSync(cache, { recursive: true });
  const version = Bun.spawnSync([...compiler, "--version"]).stdout.toString();
  const job = (text: string, flags: readonly string[]): Job => {
    const key = new Bun.CryptoHasher("sha256")
      .update([version, ...compiler.slice(1), target, ...flags, text].join("\0"))
      .digest("hex")
      .slice(0, 32);
    return { object: join(cache, `${key}.o`), text, flags };
  };
  const symbols: string[] = [];
  const jobs: Job[] = [];
  const wanted = ISAS.filter((i) => i.width > 1 && (i.arch === "any" || i.arch === arch) && (isas === undefined || isas.includes(i.name)));
  for (const isa of wanted) {
    const own = instances.filter((i) => i.isa === undefined || i.isa === isa.name);
    const unique = [...new Map(own.map((i) => [i.kernel.symbol(i.constexprs), i])).entries()];
    for (let at = 0; at < unique.length; at += PER_FILE) {
      const functions = unique.slice(at, at + PER_FILE).map(([symbol, i]) => {
        const name = `${symbol}__${isa.suffix}`;
        symbols.push(name);
        return emitFunction(i.kernel.specialize(i.constexprs), isa, name);
      });
      const flags = [...COMMON_FLAGS, ...isaFlags(compiler, isa)];
      const program = functions.join("\n");
      jobs.push({
        ...job([prelude(isa), program].join("\n"), flags),
        short: () => [needed(settleHeader(prelude(isa), compiler, version, flags), program), program].join("\n"),
      });
      // Emitting is quick but not free: let other work run.
      await Bun.sleep(0);
    }
  }
  const plain = ["-O2", "-fPIC", "-pthread"];
  jobs.push(job(readFileSync(runtimeSource(), "utf8"), plain));
  jobs.push(job(table(symbols), plain));
  await compileAllJobs(jobs, compiler);
  // Linkers for Macs put the name of the output into its signature: it is made under its own name, in a folder beside its place.
  const folder = `${path}.${process.pid}`;
  const made = join(folder, basename(path));
  const shared = os === "darwin" ? ["-dynamiclib", "-install_name", `@rpath/${basename(path)}`] : ["-shared"];
  mkdirSync(folder, { recursive: true });
  try {
    const r = Bun.spawnSync([...compiler, ...shared, "-pthread", "-o", made, ...jobs.map((j) => j.object), "-lm"], { stderr: "pipe" });
    if (r.exitCode !== 0) throw new AlloyError("kernel_error", `Linking ${path} failed: ${r.stderr.toString().trim().slice(0, 2000)}`);
    renameSync(made, path);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return symbols.length;
}

/** The one exported function that finds kernels and runtime functions by name. */
function table(kernels: readonly string[]): string {
  const all = [...kernels, ...RUNTIME_SYMBOLS];
  return [...all.map((s) => `extern char ${s}[];`), lookupFunction(all)].join("\n");
}

async function compileAllJobs(jobs: readonly Job[], compiler: readonly string[]): Promise<void> {
  const waiting = jobs.filter((j) => !existsSync(j.object));
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < waiting.length) {
      const j = waiting[next++];
      const source = `${j.object}.${process.pid}.c`;
      const made = `${j.object}.${process.pid}`;
      let words = "";
      // Where something that was left out is needed after all, the whole text compiles.
      const compiled = async (text: string): Promise<boolean> => {
        writeFileSync(source, text);
        const p = Bun.spawn([...compiler, ...j.flags, "-fvisibility=hidden", "-c", source, "-o", made], {
          stdout: "ignore",
          stderr: "pipe",
        });
        words = await new Response(p.stderr).text();
        return (await p.exited) === 0;
      };
      if (!(j.short && (await compiled(j.short()))) && !(await compiled(j.text))) {
        next = waiting.length;
        throw new AlloyError("kernel_error", `${compiler[0]} could not compile ${source}: ${words.trim().slice(0, 2000)}`);
      }
      rmSync(source);
      renameSync(made, j.object);
    }
  };
  await Promise.all(Array.from({ length: Math.min(availableParallelism(), Math.max(1, waiting.length)) }, worker));
}
