/**
 * Builds `dist/alloy`: one executable with everything in it (kernels library, Metal shim on Apple silicon, demo model, workers,
 * chat page).
 *
 *   bun build.ts                          for this machine: kernels for its processor, and a plain form of them for any other
 *   bun build.ts --target darwin-arm64    for all machines of a platform (repeatable)
 *   bun build.ts --release                archives and checksums, in dist/release/, of every target that has a C compiler here
 *
 * Nothing but the chat page is minified: kernels are compiled from their functions' text, and stack traces stay readable.
 */
import { chmodSync, copyFileSync, existsSync, mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { parse } from "acorn";
import type { BunPlugin } from "bun";
import { INSTANCES } from "./kernels/instances.ts";
import { buildShim, darwinCompiler } from "./objc-shim/build.ts";
import manifest from "./package.json" with { type: "json" };
import { buildKernelsLibrary } from "./src/compiler/aot.ts";
import { developmentLibrary } from "./src/runtime/cpu/development.ts";
import { usableIsas } from "./src/runtime/cpu/isa.ts";
import { nativeRuntime } from "./src/runtime/cpu/native.ts";
import { buildPage, embedPage } from "./src/server/web/bundle.ts";
import { AlloyError } from "./src/support/errors.ts";

const ROOT = import.meta.dir;
const DIST = join(ROOT, "dist");
const TARGETS = ["linux-x64", "linux-arm64", "darwin-arm64", "darwin-x64"] as const;
type Target = (typeof TARGETS)[number];

/** The program, and every file that runs as a Worker: a worker is found in the executable only if it is an entry point too. */
const ENTRY_POINTS = ["src/cli/main.ts", "src/engine/worker.ts", "src/engine/grammar/worker.ts"];

const HOST = `${process.platform}-${process.arch}`;

function fail(message: string): never {
  console.error(`build: ${message}`);
  process.exit(1);
}

/** The commit that is built, with "+" behind it when the tree has other changes; undefined outside a checkout. */
function commit(): string | undefined {
  const git = (...args: string[]) => Bun.spawnSync(["git", "-C", ROOT, ...args], { stderr: "ignore" });
  const head = git("rev-parse", "--short=12", "HEAD");
  if (!head.success) return undefined;
  const dirty = git("status", "--porcelain", "--untracked-files=no").stdout.toString().trim() !== "";
  return head.stdout.toString().trim() + (dirty ? "+" : "");
}

/** Puts a file where `src/runtime/DEVICE/library.ts` says that there is none, under the name that it exports. */
function embed(device: "cpu" | "metal", name: string, path: string): BunPlugin {
  return {
    name: `${device} library`,
    setup(build) {
      build.onLoad({ filter: new RegExp(`[\\\\/]src[\\\\/]runtime[\\\\/]${device}[\\\\/]library\\.ts$`) }, () => ({
        loader: "ts",
        contents: `import path from ${JSON.stringify(path)} with { type: "file" };\nexport const ${name}: string | undefined = path;\n`,
      }));
    },
  };
}

/**
 * Records the text of every kernel and helper beside its function. Bundling puts all modules into one scope and renames what collides there
 * (two helpers called `clean`), and a kernel is compiled from its text.
 */
const keepKernelSources: BunPlugin = {
  name: "kernel sources",
  setup(build) {
    const transpiler = new Bun.Transpiler({ loader: "ts", target: "bun" });
    build.onLoad({ filter: /[\\/]kernels[\\/].+\.ts$/ }, async ({ path }) => ({
      loader: "js",
      contents: recordSources(transpiler.transformSync(await Bun.file(path).text())),
    }));
  },
};

/** `fn(BODY, …)` and `kernel(name, signature, BODY, …)` with BODY's text attached to BODY. */
function recordSources(code: string): string {
  const bodies: [start: number, end: number][] = [];
  const visit = (node: unknown): void => {
    if (Array.isArray(node)) return node.forEach(visit);
    if (node === null || typeof node !== "object" || !("type" in node)) return;
    const call = node as unknown as { type: string; callee: { name?: string }; arguments: { type: string; start: number; end: number }[] };
    if (call.type === "CallExpression" && (call.callee.name === "fn" || call.callee.name === "kernel")) {
      const body = call.arguments[call.callee.name === "fn" ? 0 : 2];
      if (body !== undefined && /^(Arrow)?FunctionExpression$/.test(body.type)) bodies.push([body.start, body.end]);
    }
    Object.values(node).forEach(visit);
  };
  visit(parse(code, { ecmaVersion: "latest", sourceType: "module" }));
  for (const [start, end] of bodies.sort((a, b) => b[0] - a[0])) {
    const text = code.slice(start, end);
    code = `${code.slice(0, start)}Object.assign(${text}, { kernelSource: ${JSON.stringify(text)} })${code.slice(end)}`;
  }
  return code;
}

/**
 * Compiles the stock kernels: for every instruction set of a platform, or, which takes less than half the time, for this machine's and the
 * one that all have. A target without a C compiler here is named in the error.
 */
async function buildKernels(target: Target): Promise<string> {
  if (!EVERYWHERE) {
    const upToDate = developmentLibrary();
    if (upToDate !== undefined) return upToDate;
  }
  const [best] = usableIsas(nativeRuntime().features());
  const [path] = await buildKernelsLibrary(join(DIST, "kernels", EVERYWHERE ? "all" : ""), {
    instances: INSTANCES,
    isas: EVERYWHERE ? undefined : [best.name, "baseline"],
    targets: [target],
    compilers: compilersFor(target),
    log: (line) => console.log(line.replace(ROOT + "/", "")),
  });
  return path;
}

/** What this machine needs told for a target: clang builds for Macs from anywhere. */
function compilersFor(target: Target): Record<string, readonly string[]> | undefined {
  const compiler = target === "darwin-arm64" && target !== HOST ? darwinCompiler() : undefined;
  return compiler && { [target]: compiler };
}

/** What the executable carries for the devices that it drives. */
interface Native {
  kernels: string;
  /** The Metal shim; Macs with Intel processors compute on the CPU. */
  shim?: string;
}

async function buildNative(target: Target): Promise<Native> {
  const kernels = await buildKernels(target);
  return target === "darwin-arm64" ? { kernels, shim: buildShim(join(DIST, "metal")) } : { kernels };
}

/** Compiles the executable for one target to `outfile`. */
async function buildExecutable(target: Target, outfile: string, native: Native): Promise<void> {
  const started = performance.now();
  const defines: Record<string, string> = { ALLOY_COMPILED: "true" };
  const from = commit();
  if (from !== undefined) defines.ALLOY_COMMIT = JSON.stringify(from);
  // Bun names things inside the executable after the output file: a fixed name keeps builds of one commit identical.
  const work = join(DIST, `.build-${target}`);
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { recursive: true });
  const result = await Bun.build({
    entrypoints: ENTRY_POINTS.map((file) => join(ROOT, file)),
    root: ROOT,
    target: "bun",
    format: "esm",
    bytecode: true,
    sourcemap: "inline",
    minify: false,
    define: defines,
    plugins: [
      embed("cpu", "embeddedLibrary", native.kernels),
      ...(native.shim === undefined ? [] : [embed("metal", "embeddedShim", native.shim)]),
      keepKernelSources,
      embedPage(await buildPage()),
    ],
    // A dependency of Elysia's has a computed import() that is never reached; a test keeps our own sources free of them.
    allowUnresolved: [""],
    compile: {
      target: `bun-${target}`,
      outfile: join(work, "alloy"),
      // A user's folder may hold a .env and a bunfig.toml with a preload script: neither is meant for us.
      autoloadDotenv: false,
      autoloadBunfig: false,
    },
    throw: false,
  });
  if (!result.success) {
    for (const { message, position } of result.logs)
      console.error(position ? `${position.file}:${position.line}: ${message}\n  ${position.lineText}` : message);
    fail(`bundling for ${target} failed`);
  }
  mkdirSync(join(outfile, ".."), { recursive: true });
  chmodSync(join(work, "alloy"), 0o755);
  renameSync(join(work, "alloy"), outfile);
  rmSync(work, { recursive: true });
  const megabytes = (statSync(outfile).size / 1e6).toFixed(1);
  console.log(
    `${outfile.replace(ROOT + "/", "")}: ${megabytes} MB for ${target} in ${((performance.now() - started) / 1000).toFixed(1)} s`,
  );
}

/** `alloy-VERSION-TARGET.tar.gz` with the executable and the texts, and its `.sha256` beside it. */
async function buildArchive(target: Target, executable: string, folder: string): Promise<void> {
  const name = `alloy-${manifest.version}-${target}`;
  const stage = join(folder, name);
  rmSync(stage, { recursive: true, force: true });
  mkdirSync(stage, { recursive: true });
  copyFileSync(executable, join(stage, "alloy"));
  chmodSync(join(stage, "alloy"), 0o755);
  for (const text of ["LICENSE", "README.md", "CHANGELOG.md"]) copyFileSync(join(ROOT, text), join(stage, text));
  const archive = `${stage}.tar.gz`;
  const tar = Bun.spawnSync(["tar", "-czf", archive, "-C", folder, name], { stderr: "inherit" });
  if (!tar.success) fail(`tar failed for ${archive}`);
  rmSync(stage, { recursive: true });
  const hash = new Bun.CryptoHasher("sha256");
  for await (const chunk of Bun.file(archive).stream()) hash.update(chunk);
  await Bun.write(`${archive}.sha256`, `${hash.digest("hex")}  ${basename(archive)}\n`);
  console.log(`${archive.replace(ROOT + "/", "")}: ${(statSync(archive).size / 1e6).toFixed(1)} MB`);
}

const { values } = parseArgs({
  options: { target: { type: "string", multiple: true }, release: { type: "boolean" }, help: { type: "boolean" } },
  strict: true,
});
if (values.help) {
  console.log("bun build.ts [--target linux-x64|linux-arm64|darwin-arm64|darwin-x64]... [--release]");
  process.exit(0);
}
const chosen = values.target ?? (values.release ? [...TARGETS] : [HOST]);
/** Whether what is built is for other machines than this one. */
const EVERYWHERE = values.target !== undefined || values.release === true;
for (const target of chosen) {
  if (!(TARGETS as readonly string[]).includes(target)) fail(`unknown target "${target}"; targets are ${TARGETS.join(", ")}`);
}
if (!existsSync(join(ROOT, "node_modules"))) fail("dependencies are not installed; run `bun install` (or `sh install.sh`)");

for (const target of chosen as Target[]) {
  const outfile = join(DIST, target === HOST ? "alloy" : `alloy-${target}`);
  let native: Native;
  try {
    native = await buildNative(target);
  } catch (error) {
    const { message, hint } = AlloyError.from(error);
    // A release of everything is a release of what this machine can make; what was asked for by name must work.
    if (values.target !== undefined || target === HOST) fail(`${message}${hint === undefined ? "" : ` (${hint})`}`);
    console.log(`${target} is left out: ${message}`);
    continue;
  }
  await buildExecutable(target, outfile, native);
  if (values.release) await buildArchive(target, outfile, join(DIST, "release"));
}
if (values.release) {
  // What install.sh asks for when no version is named, and install.sh itself.
  await Bun.write(join(DIST, "release", "VERSION"), `${manifest.version}\n`);
  copyFileSync(join(ROOT, "install.sh"), join(DIST, "release", "install.sh"));
}
