/** Compiling C at run time: the system's compiler with a disk cache, or Bun's built-in TinyCC, which always works. */
import { cc, dlopen } from "bun:ffi";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { AlloyError } from "../../support/errors.ts";
import { cacheDir } from "../../support/paths.ts";
import type { Isa } from "./isa.ts";
import { settleHeader } from "./intrinsics.ts";
import { COMMON_FLAGS, PRELUDE_END } from "./isa.ts";
import { needed } from "./needed.ts";

export interface CSource {
  symbol: string;
  text: string;
  /** Every name to be found by `lookup`; default: the symbol. */
  exports?: readonly string[];
}

/** Loaded native code: addresses of functions by name, 0 for unknown ones. Lives as long as the process. */
export interface NativeUnit {
  lookup(symbol: string): number;
}

/** The function that every unit exports, over the names given. */
export function lookupFunction(symbols: readonly string[]): string {
  const rows = symbols.map((s) => `  if (alloy_same(name, "${s}")) return (void *)${s};`);
  return [
    "static int alloy_same(const char *a, const char *b) { while (*a && *a == *b) a++, b++; return *a == *b; }",
    `__attribute__((visibility("default"))) void *alloy_lookup(const char *name) {\n${rows.join("\n")}\n  return 0;\n}`,
  ].join("\n");
}

let found: { path: string; version: string } | null | undefined;

/** The system's C compiler: ALLOY_CC ("" for none), else cc, gcc or clang. */
export function systemCompiler(): { path: string; version: string } | undefined {
  if (found !== undefined) return found ?? undefined;
  const wanted = process.env.ALLOY_CC;
  const names = wanted === undefined ? ["cc", "gcc", "clang"] : wanted === "" ? [] : [wanted];
  found = null;
  for (const name of names) {
    const path = Bun.which(name);
    if (!path) continue;
    const s = statSync(path);
    found = { path, version: `${path} ${s.size} ${s.mtimeMs}` };
    break;
  }
  if (!found && wanted) throw new AlloyError("bad_argument", `ALLOY_CC names "${wanted}", which is not a program on the PATH`);
  return found ?? undefined;
}

const asked = new Map<string, boolean>();

/** Flags for an instruction set that this compiler understands: those only GCC knows are tried on an empty file first. */
export function isaFlags(compiler: readonly string[], isa: Isa): readonly string[] {
  if (!isa.gcc) return isa.flags;
  const key = compiler.join(" ");
  let known = asked.get(key);
  if (known === undefined) {
    const r = Bun.spawnSync([...compiler, ...isa.gcc, "-Werror", "-x", "c", "-fsyntax-only", "-"], {
      stdin: Buffer.from("int x;\n"),
      stdout: "ignore",
      stderr: "ignore",
    });
    asked.set(key, (known = r.exitCode === 0));
  }
  return known ? [...isa.flags, ...isa.gcc] : isa.flags;
}

const hash = (text: string): string => new Bun.CryptoHasher("sha256").update(text).digest("hex").slice(0, 32);

/** Opens a shared library that exports `alloy_lookup`. */
export function openUnit(path: string): NativeUnit {
  const lib = dlopen(path, { alloy_lookup: { args: ["cstring"], returns: "ptr" } });
  return unit(lib.symbols.alloy_lookup as Lookup);
}

type Lookup = (name: Uint8Array) => number | null;
const unit = (lookup: Lookup): NativeUnit => ({ lookup: (symbol) => Number(lookup(Buffer.from(`${symbol}\0`)) ?? 0) });

/** Compiles a text with Bun's TinyCC; only plain C99 without headers works. */
export function tinyUnit(text: string, symbols: readonly string[]): NativeUnit {
  const dir = mkdtempSync(join(tmpdir(), "alloy-"));
  const file = join(dir, "unit.c");
  try {
    writeFileSync(file, `${text}\n${lookupFunction(symbols)}\n`);
    const lib = cc({ source: file, symbols: { alloy_lookup: { args: ["cstring"], returns: "ptr" } } });
    kept.push(lib);
    return unit(lib.symbols.alloy_lookup as Lookup);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Code that TinyCC made dies with its library object. */
const kept: unknown[] = [];

/**
 * Compiles programs for an instruction set, each at most once per machine: results are cached on disk by text, flags and compiler.
 * Missing ones are put into as many files as there are cores and compiled side by side. Without a system compiler, what `scalar` gives
 * (plain C) goes through TinyCC. Throws `kernel_error` with the compiler's words.
 */
export function compileAll(
  sources: readonly CSource[],
  isa: Isa,
  scalar: () => readonly CSource[] = () => sources,
  extraFlags: readonly string[] = [],
): Map<string, NativeUnit> {
  const units = new Map<string, NativeUnit>();
  const compiler = systemCompiler();
  if (!compiler) {
    for (const s of scalar()) units.set(s.symbol, tinyUnit(s.text, s.exports ?? [s.symbol]));
    return units;
  }
  const open = new Map<string, NativeUnit>();
  for (const [symbol, path] of compileFiles(compiler, sources, isa, extraFlags)) {
    const u = open.get(path) ?? openUnit(path);
    open.set(path, u);
    units.set(symbol, u);
  }
  return units;
}

/** The same with a given compiler, which may be one for another processor: paths of shared libraries by symbol, nothing opened. */
export function compileFiles(
  compiler: { path: string; version: string },
  sources: readonly CSource[],
  isa: Isa,
  extraFlags: readonly string[] = [],
): Map<string, string> {
  const paths = new Map<string, string>();
  const flags = [...COMMON_FLAGS, ...isa.flags, ...(isa.gcc ?? []), ...extraFlags];
  const dir = join(cacheDir(), "kernels");
  mkdirSync(dir, { recursive: true });
  const missing: { source: CSource; ref: string }[] = [];
  for (const source of sources) {
    const ref = join(dir, `${hash([compiler.version, flags.join(" "), source.symbol, source.text].join("\0"))}.ref`);
    const file = existsSync(ref) ? readFileSync(ref, "utf8") : "";
    if (file && existsSync(join(dir, file))) paths.set(source.symbol, join(dir, file));
    else missing.push({ source, ref });
  }
  if (!missing.length) return paths;
  const understood = [...COMMON_FLAGS, ...isaFlags([compiler.path], isa), ...extraFlags];
  const count = Math.min(missing.length, availableParallelism());
  const groups = Array.from({ length: count }, (_, i) => missing.filter((_, k) => k % count === i));
  const work = mkdtempSync(join(dir, "tmp-"));
  try {
    const short = (prelude: string, program: string): string =>
      needed(settleHeader(prelude, [compiler.path], compiler.version, understood), program);
    const jobs = groups.map((group, i) => {
      const members = group.map((g) => g.source);
      const text = unitText(members);
      return { group, i, text, short: unitText(members, short), file: `${hash([compiler.version, flags.join(" "), text].join("\0"))}.so` };
    });
    const shortened = jobs.map((j) => ({ i: j.i, text: j.short }));
    runCompiler(compiler.path, [...understood, ...COMPLETE], work, shortened);
    // Where something that was left out is needed after all, the whole text compiles.
    const again = jobs.filter((j) => j.short !== j.text && !existsSync(join(work, `${j.i}.so`)));
    if (again.length) runCompiler(compiler.path, understood, work, again);
    for (const { group, i, file } of jobs) {
      const made = join(work, `${i}.so`);
      if (!existsSync(made)) {
        const words = join(work, `${i}.err`);
        throw compileError(
          group.map((g) => g.source),
          compiler.path,
          existsSync(words) ? readFileSync(words, "utf8") : "",
        );
      }
      renameSync(made, join(dir, file));
      for (const { ref, source } of group) {
        writeFileSync(`${ref}.${process.pid}`, file);
        renameSync(`${ref}.${process.pid}`, ref);
        paths.set(source.symbol, join(dir, file));
      }
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return paths;
}

/** Functions that were left out are missed at once, not when they are called. Linkers for Macs do without being told. */
const COMPLETE = process.platform === "linux" ? ["-Wl,-z,defs"] : [];

/** Compiles the texts to I.so in `work`, side by side; the compiler's words go to I.err. */
function runCompiler(path: string, flags: readonly string[], work: string, jobs: readonly { i: number; text: string }[]): void {
  for (const { i, text } of jobs) writeFileSync(join(work, `${i}.c`), text);
  const script =
    'cc=$1; numbers=$2; shift 2; for i in $numbers; do { "$cc" "$@" -shared -o $i.so $i.c -lm 2> $i.err || rm -f $i.so; } & done; wait';
  const numbers = jobs.map(({ i }) => i).join(" ");
  Bun.spawnSync(["sh", "-c", script, "sh", path, numbers, ...flags], { cwd: work, stdout: "ignore", stderr: "ignore" });
}

function compileError(sources: readonly CSource[], compiler: string, words: string): AlloyError {
  const names = sources.map((s) => s.symbol).join(", ");
  return new AlloyError("kernel_error", `${compiler} could not compile ${names}: ${words.trim().slice(0, 2000) || "it gave no message"}`, {
    hint: "Set ALLOY_CC to another C compiler, or to an empty text for the built-in one.",
  });
}

/** Several programs in one C file: the shared prelude once, or what `shorten` makes of it for them, then each program. */
export function unitText(sources: readonly CSource[], shorten = (prelude: string, _program: string): string => prelude): string {
  const preludes = new Set<string>();
  const bodies: string[] = [];
  for (const { text } of sources) {
    const at = text.indexOf(PRELUDE_END);
    if (at >= 0) preludes.add(text.slice(0, at));
    bodies.push(at >= 0 ? text.slice(at) : text);
  }
  const program = bodies.join("\n");
  const before = [...preludes].map((p) => shorten(p, program));
  return [...before, program, lookupFunction(sources.flatMap((s) => s.exports ?? [s.symbol])), ""].join("\n");
}
