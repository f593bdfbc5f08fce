/**
 * Builds the Metal shim for Macs, and tells how other C is built for them.
 *
 *   bun objc-shim/build.ts             dist/metal/liballoy_metal.dylib
 *   bun objc-shim/build.ts --check     builds it and, from Linux, the whole darwin-arm64 executable, and looks at what came out
 *
 * On a Mac Apple's clang and SDK build it. On Linux clang and ld64.lld do, with the headers and stub libraries beside this file; the result is
 * signed ad hoc, as arm64 Macs demand, and the same byte for byte wherever it is made with the same compiler.
 * The third build, for Linux against the test host, is test/metal-host/build.ts.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { AlloyError } from "../src/support/errors.ts";

const HERE = dirname(fileURLToPath(import.meta.url));
const SDK = join(HERE, "sdk");

/** The oldest system that the dylibs load on: Bun's own. Metal's language version wants macOS 14, which the shim checks. */
export const MIN_MACOS = "13.0";
export const SHIM_NAME = "liballoy_metal.dylib";
export const SHIM_LIBRARIES = ["Foundation", "Metal", "IOKit"] as const;

const FLAGS = "-std=gnu11 -O2 -fno-objc-arc -fobjc-exceptions -fvisibility=hidden -Wall -Wextra".split(" ");
const TARGET = ["-target", `arm64-apple-macos${MIN_MACOS}`];
/** Without Apple's SDK: prototypes and stub libraries of what is used, and nothing of this system's. */
const OWN_SDK = ["-isysroot", SDK, "-nostdlibinc", "-isystem", join(SDK, "include")];

/** Programs for building for Macs on another system. */
interface CrossTools {
  clang: string;
  linker: string;
}

/** clang and ld64.lld of one version, the newest first; undefined when they are not installed. */
export function crossTools(): CrossTools | undefined {
  for (const suffix of ["-21", "-20", "-19", ""]) {
    const clang = Bun.which(`clang${suffix}`);
    const linker = Bun.which(`ld64.lld${suffix}`);
    if (clang && linker) return { clang, linker };
  }
  return undefined;
}

/**
 * A C compiler for darwin-arm64 and its first arguments, for the kernels library; undefined where there is none. On a Mac the system's own
 * compiler serves.
 */
export function darwinCompiler(): readonly string[] | undefined {
  const tools = process.platform === "darwin" ? undefined : crossTools();
  if (!tools) return undefined;
  // Compiling does not link: flags for that are no mistake.
  return [
    tools.clang,
    ...TARGET,
    ...OWN_SDK,
    "-fuse-ld=lld",
    `--ld-path=${tools.linker}`,
    "-fno-stack-protector",
    "-Wno-unused-command-line-argument",
  ];
}

function run(what: string, command: readonly string[]): void {
  const r = Bun.spawnSync([...command], { stdout: "ignore", stderr: "pipe" });
  if (r.exitCode !== 0) throw new AlloyError("kernel_error", `${what} failed: ${r.stderr.toString().trim().slice(0, 4000)}`);
}

/** Sources of the shim. */
export const shimSources = (): string[] =>
  readdirSync(HERE)
    .filter((f) => f.endsWith(".m"))
    .sort()
    .map((f) => join(HERE, f));

function crossLink(output: string, folder: string, { clang, linker }: CrossTools): void {
  const flags = [
    ...TARGET,
    ...OWN_SDK,
    "-I",
    join(HERE, "headers"),
    `-fobjc-runtime=macosx-${MIN_MACOS}`,
    "-fno-stack-protector",
    ...FLAGS,
  ];
  const objects = shimSources().map((source) => {
    const object = join(folder, `${basename(source)}.o`);
    run(`Compiling ${basename(source)}`, [clang, ...flags, "-c", source, "-o", object]);
    return object;
  });
  const frameworks = SHIM_LIBRARIES.flatMap((name) => ["-framework", name]);
  const platform = ["-arch", "arm64", "-platform_version", "macos", MIN_MACOS, MIN_MACOS, "-syslibroot", SDK];
  const kind = ["-dylib", "-install_name", `@rpath/${SHIM_NAME}`, "-adhoc_codesign", "-dead_strip", "-x"];
  run(`Linking ${SHIM_NAME}`, [linker, ...platform, ...kind, "-o", output, ...objects, "-lobjc", "-lSystem", ...frameworks]);
}

function appleLink(output: string): void {
  // The shim asks at run time for what its least system lacks; the linker signs what it makes for arm64.
  const compile = [
    `-mmacosx-version-min=${MIN_MACOS}`,
    "-arch",
    "arm64",
    "-Wno-deprecated-declarations",
    "-Wno-unguarded-availability-new",
  ];
  const link = ["-dynamiclib", "-install_name", `@rpath/${SHIM_NAME}`, "-lobjc", ...SHIM_LIBRARIES.flatMap((name) => ["-framework", name])];
  run(`Building ${SHIM_NAME}`, ["xcrun", "clang", ...FLAGS, ...compile, ...link, "-o", output, ...shimSources()]);
}

/** Builds the shim for darwin-arm64 into a folder and returns its path. Throws `bad_argument` where it cannot be built, `kernel_error` with the compiler's words. */
export function buildShim(folder: string): string {
  const tools = process.platform === "darwin" ? undefined : crossTools();
  if (process.platform !== "darwin" && !tools) {
    throw new AlloyError("bad_argument", "There is no compiler here that makes the Metal shim", {
      hint: "Install clang-19 and lld-19 (`sh install.sh --test` does on Debian).",
    });
  }
  // The name of the output is part of its signature: it is made under its own name, elsewhere.
  const work = mkdtempSync(join(tmpdir(), "alloy-shim-"));
  try {
    const made = join(work, SHIM_NAME);
    if (tools) crossLink(made, work, tools);
    else appleLink(made);
    mkdirSync(folder, { recursive: true });
    const path = join(folder, SHIM_NAME);
    // Another file system may hold the temporary folder: a copy beside the target, then a rename.
    const beside = `${path}.${process.pid}`;
    run("Copying", ["cp", made, beside]);
    renameSync(beside, path);
    return path;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

if (import.meta.main) {
  const root = join(HERE, "..");
  const path = buildShim(join(root, "dist", "metal"));
  console.log(path.replace(`${root}/`, ""));
  if (process.argv.includes("--check")) {
    if (!existsSync(join(root, "node_modules"))) throw new AlloyError("bad_argument", "Run `bun install` first");
    const { checkAll } = await import("./check.ts");
    await checkAll(root, path);
  }
}
