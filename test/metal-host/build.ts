/**
 * Builds what Metal tests load: libmetalhost.so (the MSL executor of runtime/) and liballoy_metal.so (objc-shim/alloy_metal.m, as it ships to Macs,
 * compiled for Linux, with the fake frameworks of objc/ that it runs over). Results are cached by the hash of everything that goes in.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { cacheDir } from "../../src/support/paths.ts";

export type MetalHost =
  | {
      available: true;
      /** Path of libmetalhost.so. */
      host: string;
      /** Path of liballoy_metal.so, for ALLOY_METAL_SHIM. "" as long as the shim or the fake frameworks are not there. */
      shim: string;
    }
  | { available: false; why: string };

const HERE = dirname(fileURLToPath(import.meta.url));
const SHIM = join(HERE, "..", "..", "objc-shim");

/** What the executor is compiled with. */
const CXX_FLAGS = "-std=c++20 -O1 -fPIC -fvisibility=hidden -fno-exceptions -fno-rtti -Wall -Wextra -Werror -march=x86-64-v3".split(" ");
/** Files that run for every access or every turn of a thread. */
const HOT = ["callbacks.cpp", "check.cpp", "dispatch.cpp", "fiber.cpp", "schedule.cpp"];
/** What Objective-C is compiled with: GCC's runtime (for it -fobjc-exceptions alone makes no tables), and no blocks, no ARC. */
const OBJC_FLAGS = [
  ..."-std=gnu11 -O1 -g -fPIC -fvisibility=hidden -fno-objc-arc -fobjc-runtime=gcc -fobjc-exceptions -fexceptions".split(" "),
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
  /** Changes when the compiler does. */
  version: string;
  /** GCC's folder with the Objective-C runtime. */
  gcc: string;
  /** Archive of clang's run-time library. */
  rt: string;
}

/** The compiler and what else is needed, or why there is no Metal host here. Looks at files only: every test process asks. */
function inputs(): Inputs | { why: string } {
  if (process.platform !== "linux" || process.arch !== "x64")
    return { why: `the Metal host runs on Linux with an x86-64 processor, this is ${process.platform} on ${process.arch}` };
  const clang = Bun.which("clang-19");
  if (!clang) return { why: "clang-19 is not installed (on Debian: sh install.sh --test brings it)" };
  if (!Bun.which("ld.lld-19")) return { why: "lld-19 is not installed (on Debian: sh install.sh --test brings it)" };
  const gcc = gccFolders().find((f) => existsSync(join(f, "include", "objc")));
  if (!gcc) return { why: "GCC's Objective-C runtime is not installed (Debian: libobjc-12-dev)" };
  const real = realpathSync(clang);
  const rt = join(dirname(real), "..", "lib", "clang", "19", "lib", "linux", "libclang_rt.builtins-x86_64.a");
  if (!existsSync(rt)) return { why: "clang's run-time library is not installed (Debian: libclang-rt-19-dev)" };
  const { size, mtimeMs } = statSync(real);
  return { clang, version: `${real} ${size} ${mtimeMs}`, gcc, rt };
}

const GCC = "/usr/lib/gcc/x86_64-linux-gnu";
const gccFolders = (): string[] => (existsSync(GCC) ? readdirSync(GCC).map((v) => join(GCC, v)) : []);

interface Unit {
  source: string;
  flags: readonly string[];
  /** Headers and other things that the object depends on, as text. */
  depends: string;
}

const RUNTIME = join(HERE, "runtime");

function hostUnits(): Unit[] {
  const depends = contents(files(RUNTIME, ".h")) + contents(files(join(HERE, "msl"), "module.h"));
  // Compiled kernels are kept by this hash too: the same text means another object when the prelude or the rewriter changes.
  const dialect = hash(contents(files(join(HERE, "msl"), "")), contents(files(RUNTIME, ".cpp", ".h")));
  return files(RUNTIME, ".cpp").map((source): Unit => {
    const name = basename(source);
    const flags = name === "compile.cpp" ? [`-DMH_DIALECT="${dialect}"`] : HOT.includes(name) ? ["-O2"] : [];
    return { source, flags: [...CXX_FLAGS, ...flags], depends };
  });
}

/** The shim and the fake frameworks; none as long as one of them is not there. */
function shimUnits({ gcc }: Inputs): Unit[] {
  const fakes = files(join(HERE, "objc"), ".m");
  const shim = files(SHIM, ".m");
  if (!fakes.length || !shim.length) return [];
  const headers = [
    ...files(join(SHIM, "headers"), ".h"),
    ...files(join(HERE, "objc"), ".h"),
    ...files(SHIM, ".h"),
    ...files(RUNTIME, "abi.h"),
  ];
  const include = [join(SHIM, "headers"), join(HERE, "objc"), SHIM, RUNTIME].flatMap((f) => ["-I", f]);
  const flags = [...OBJC_FLAGS, "-idirafter", join(gcc, "include"), ...include];
  const depends = contents([...new Set(headers)]);
  return [...shim, ...fakes].map((source): Unit => ({ source, flags, depends }));
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

/** libmetalhost.so in `to`. */
async function makeHost(to: string, tools: Inputs): Promise<void> {
  mkdirSync(join(to, "msl"), { recursive: true });
  // The executor compiles texts with the prelude that lies beside it: a checkout that changes meanwhile does not matter.
  for (const f of files(join(HERE, "msl"), "")) writeFileSync(join(to, "msl", basename(f)), readFileSync(f));
  const libraries = "-Wl,-soname,libmetalhost.so -static-libstdc++ -lstdc++ -lm -lpthread -ldl".split(" ");
  link(join(to, "libmetalhost.so"), tools, [...(await compile(hostUnits(), tools)), tools.rt, ...libraries]);
}

/** liballoy_metal.so in `to`, over the executor in `host`. */
async function makeShim(to: string, tools: Inputs, host: string): Promise<void> {
  mkdirSync(to, { recursive: true });
  const libraries = ["-L", host, "-l:libmetalhost.so", `-Wl,-rpath,${host}`, "-lpthread", "-ldl", "-lm"];
  link(join(to, "liballoy_metal.so"), tools, [...(await compile(shimUnits(tools), tools)), `-L${tools.gcc}`, "-lobjc", ...libraries]);
}

let known: MetalHost | undefined;

/**
 * The Metal host for this machine, built when it is not in the cache (processes that need it at once wait for one build). Not available means: a tool
 * is missing. A source that does not compile throws.
 */
export function metalHost(): MetalHost {
  if (known) return known;
  const tools = inputs();
  if ("why" in tools) return (known = { available: false, why: `Metal tests are skipped: ${tools.why}` });
  const host = hostFolder(tools);
  const shim = shimFolder(tools, host);
  return (known = { available: true, host: join(host, "libmetalhost.so"), shim: shim && join(shim, "liballoy_metal.so") });
}

/** The executor alone: for tests that need neither the shim nor the fake frameworks. */
export function metalExecutor(): MetalHost {
  if (known) return known;
  const tools = inputs();
  if ("why" in tools) return { available: false, why: `Metal tests are skipped: ${tools.why}` };
  return { available: true, host: join(hostFolder(tools), "libmetalhost.so"), shim: "" };
}

const SELF = fileURLToPath(import.meta.url);

const identity = (list: readonly Unit[], tools: Inputs): string =>
  hash(tools.version, readFileSync(SELF), ...list.flatMap((u) => [u.flags.join(" "), u.depends, readFileSync(u.source)]));

function hostFolder(tools: Inputs): string {
  return ensure(join(folder(), identity(hostUnits(), tools)));
}

function shimFolder(tools: Inputs, host: string): string {
  const list = shimUnits(tools);
  return list.length ? ensure(join(folder(), `${identity(list, tools)}-${basename(host).slice(0, 8)}`), host) : "";
}

/** Has a folder's library built, by one process at a time. */
function ensure(to: string, host = ""): string {
  if (existsSync(join(to, "done"))) return to;
  mkdirSync(folder(), { recursive: true });
  const r = Bun.spawnSync(["flock", join(folder(), "lock"), process.execPath, SELF, to, host], { stderr: "pipe" });
  if (r.exitCode !== 0) throw new Error(`The Metal host cannot be built:\n${r.stderr.toString()}`);
  return to;
}

async function build(to: string, host: string): Promise<void> {
  const tools = inputs();
  if ("why" in tools) throw new Error(tools.why);
  if (existsSync(join(to, "done"))) return;
  rmSync(to, { recursive: true, force: true });
  mkdirSync(join(folder(), "parts"), { recursive: true });
  if (host) await makeShim(to, tools, host);
  else await makeHost(to, tools);
  writeFileSync(join(to, "done"), "");
}

if (import.meta.main) {
  if (process.argv[2] === undefined) console.log(metalHost());
  else await build(process.argv[2], process.argv[3] ?? "");
}
