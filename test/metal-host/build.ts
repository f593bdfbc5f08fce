/**
 * Builds what Metal tests load: libmetalhost.so (the MSL executor of runtime/ and the fake Metal framework of objc/) and liballoy_metal.so
 * (objc-shim/alloy_metal.m, as it ships to Macs, compiled for Linux against them). Results are cached by the hash of everything that goes in.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { cacheDir } from "../../src/support/paths.ts";

export type MetalHost =
  | {
      available: true;
      /** Path of libmetalhost.so. */
      host: string;
      /** Path of liballoy_metal.so, for ALLOY_METAL_SHIM. "" as long as there is no objc-shim/alloy_metal.m. */
      shim: string;
    }
  | { available: false; why: string };

const HERE = dirname(fileURLToPath(import.meta.url));
const SHIM = join(HERE, "..", "..", "objc-shim");

/** What the executor is compiled with. */
const CXX_FLAGS = "-std=c++20 -O2 -fPIC -fvisibility=hidden -fno-exceptions -fno-rtti -Wall -Wextra -Werror -march=x86-64-v3".split(" ");
/** What Objective-C is compiled with: GCC's runtime, which is what Debian has, and no blocks, no ARC. */
const OBJC_FLAGS = [
  ..."-std=gnu11 -O1 -g -fPIC -fvisibility=hidden -fno-objc-arc -fobjc-runtime=gcc -fobjc-exceptions".split(" "),
  "-fconstant-string-class=NSConstantString",
  "-Wall",
  "-Werror",
];

const hash = (...parts: (string | Uint8Array)[]): string => {
  const h = new Bun.CryptoHasher("sha256");
  for (const p of parts) h.update(p).update("\0");
  return h.digest("hex").slice(0, 24);
};

/** Files of a folder whose names end with one of the endings, sorted; none when there is no such folder. */
function files(folder: string, ...endings: string[]): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((f) => endings.some((e) => f.endsWith(e)))
    .sort()
    .map((f) => join(folder, f));
}

const contents = (list: readonly string[]): string => list.map((f) => `${basename(f)}\n${readFileSync(f, "utf8")}`).join("\0");

interface Inputs {
  clang: string;
  version: string;
  gccInclude: string;
}

/** The compiler and what else is needed, or why there is no Metal host here. */
function inputs(): Inputs | { why: string } {
  if (process.platform !== "linux" || process.arch !== "x64")
    return { why: `the Metal host runs on Linux with an x86-64 processor, this is ${process.platform} on ${process.arch}` };
  const clang = Bun.which("clang-19");
  if (!clang) return { why: "clang-19 is not installed (on Debian: sh install.sh --test brings it)" };
  if (!Bun.which("ld.lld-19")) return { why: "lld-19 is not installed (on Debian: sh install.sh --test brings it)" };
  const gccInclude = Bun.which("gcc") ? Bun.spawnSync(["gcc", "-print-file-name=include"]).stdout.toString().trim() : "";
  if (!existsSync(join(gccInclude, "objc"))) return { why: "GCC's Objective-C runtime is not installed (Debian: libobjc-12-dev)" };
  if (!compilerRt(clang)) return { why: "clang's run-time library is not installed (Debian: libclang-rt-19-dev)" };
  return { clang, version: Bun.spawnSync([clang, "--version"]).stdout.toString().split("\n")[0], gccInclude };
}

function compilerRt(clang: string): string {
  const path = Bun.spawnSync([clang, "--rtlib=compiler-rt", "-print-libgcc-file-name"]).stdout.toString().trim();
  return existsSync(path) ? path : "";
}

interface Unit {
  source: string;
  flags: readonly string[];
  /** Headers and other things that the object depends on, as text. */
  depends: string;
}

function units({ gccInclude }: Inputs): { host: Unit[]; shim: Unit[] } {
  const runtime = join(HERE, "runtime");
  const runtimeHeaders = contents(files(runtime, ".h"));
  // Compiled kernels are kept by this hash too: the same text means another object when the prelude or the rewriter changes.
  const dialect = hash(contents(files(join(HERE, "msl"), "")), contents(files(runtime, ".cpp", ".h")));
  const host = files(runtime, ".cpp", ".S").map((source): Unit => {
    const compile = basename(source) === "compile.cpp";
    return { source, flags: compile ? [...CXX_FLAGS, `-DMH_DIALECT="${dialect}"`] : CXX_FLAGS, depends: runtimeHeaders };
  });
  const objc = files(join(HERE, "objc"), ".m");
  const headers = [...files(join(SHIM, "headers"), ".h"), ...files(join(HERE, "objc"), ".h"), ...files(SHIM, ".h")];
  const flags = [...OBJC_FLAGS, "-idirafter", gccInclude, "-I", join(SHIM, "headers"), "-I", join(HERE, "objc"), "-I", SHIM, "-I", runtime];
  const depends = contents([...new Set(headers)]) + runtimeHeaders;
  const shim = files(SHIM, ".m").map((source): Unit => ({ source, flags, depends }));
  return { host: [...host, ...objc.map((source): Unit => ({ source, flags, depends }))], shim };
}

const folder = (): string => join(cacheDir(), "metal-host");

/** Compiles units that are missing, as many at once as the machine has cores; returns the objects. Throws with the compiler's words. */
async function compile(list: readonly Unit[], { clang, version }: Inputs): Promise<string[]> {
  const made: string[] = [];
  const waiting = list.map((u, i) => ({ ...u, i }));
  const work = async (): Promise<void> => {
    for (let u = waiting.shift(); u; u = waiting.shift()) {
      const object = join(folder(), "parts", `${hash(version, u.flags.join(" "), u.depends, readFileSync(u.source))}.o`);
      made[u.i] = object;
      if (existsSync(object)) continue;
      const partial = `${object}.${process.pid}`;
      const child = Bun.spawn([clang, ...u.flags, "-c", u.source, "-o", partial], { stderr: "pipe" });
      const words = await new Response(child.stderr).text();
      if ((await child.exited) !== 0) throw new Error(`${u.source} does not compile:\n${words}`);
      renameSync(partial, object);
    }
  };
  await Promise.all([work(), work()]);
  return made;
}

function link(output: string, { clang }: Inputs, args: readonly string[]): void {
  const partial = `${output}.${process.pid}`;
  const r = Bun.spawnSync([clang, "-shared", "-fuse-ld=lld", "-Wl,-z,defs", "-o", partial, ...args], { stderr: "pipe" });
  if (r.exitCode !== 0) throw new Error(`${basename(output)} does not link:\n${r.stderr.toString()}`);
  renameSync(partial, output);
}

/** Makes both libraries in `to`. */
async function make(to: string, tools: Inputs): Promise<void> {
  mkdirSync(join(folder(), "parts"), { recursive: true });
  mkdirSync(join(to, "msl"), { recursive: true });
  // The executor compiles texts with the prelude that lies beside it: a checkout that changes meanwhile does not matter.
  for (const f of files(join(HERE, "msl"), "")) writeFileSync(join(to, "msl", basename(f)), readFileSync(f));
  const { host, shim } = units(tools);
  const objects = await compile([...host, ...shim], tools);
  const gcc = readdirSync("/usr/lib/gcc/x86_64-linux-gnu").map((v) => `-L/usr/lib/gcc/x86_64-linux-gnu/${v}`);
  const objc = [...gcc, "-lobjc"];
  link(join(to, "libmetalhost.so"), tools, [
    ...objects.slice(0, host.length),
    ...(host.some((u) => u.source.endsWith(".m")) ? objc : []),
    compilerRt(tools.clang),
    ..."-Wl,-soname,libmetalhost.so -static-libstdc++ -lstdc++ -lm -lpthread -ldl".split(" "),
  ]);
  if (shim.length)
    link(join(to, "liballoy_metal.so"), tools, [
      ...objects.slice(host.length),
      ...objc,
      "-L",
      to,
      ..."-l:libmetalhost.so -Wl,-rpath,$ORIGIN -lpthread -ldl".split(" "),
    ]);
  writeFileSync(join(to, "done"), "");
}

let known: MetalHost | undefined;

/**
 * The Metal host for this machine, built when it is not in the cache (under ten seconds; processes that need it at once wait for one build).
 * Not available means: a tool is missing. A source that does not compile throws.
 */
export function metalHost(): MetalHost {
  return (known ??= find());
}

function find(): MetalHost {
  const tools = inputs();
  if ("why" in tools) return { available: false, why: `Metal tests are skipped: ${tools.why}` };
  const { host, shim } = units(tools);
  const all = [...host, ...shim];
  const id = hash(
    tools.version,
    readFileSync(fileURLToPath(import.meta.url)),
    contents(files(join(HERE, "msl"), "")),
    ...all.flatMap((u) => [u.flags.join(" "), u.depends, readFileSync(u.source)]),
  );
  const to = join(folder(), id);
  if (!existsSync(join(to, "done"))) {
    mkdirSync(folder(), { recursive: true });
    const r = Bun.spawnSync(["flock", join(folder(), "lock"), process.execPath, fileURLToPath(import.meta.url), to], { stderr: "pipe" });
    if (r.exitCode !== 0) throw new Error(`The Metal host cannot be built:\n${r.stderr.toString()}`);
  }
  return { available: true, host: join(to, "libmetalhost.so"), shim: shim.length ? join(to, "liballoy_metal.so") : "" };
}

if (import.meta.main) {
  const to = process.argv[2];
  const tools = inputs();
  if ("why" in tools) throw new Error(tools.why);
  if (to === undefined) console.log(metalHost());
  else if (!existsSync(join(to, "done"))) {
    rmSync(to, { recursive: true, force: true });
    await make(to, tools);
  }
}
