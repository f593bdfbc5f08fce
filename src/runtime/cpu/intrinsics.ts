/**
 * Compilers' headers of intrinsics are some 40 000 lines, of which a prelude uses a few hundred, and reading them takes most of the time
 * of compiling a small kernel. So the preprocessed header is cut down once, and kept beside the kernels.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cacheDir } from "../../support/paths.ts";
import { needed } from "./needed.ts";

const INCLUDE = /^#include <(?:immintrin|arm_neon)\.h>\n/m;
/** Included by some of those headers, and by all preludes. */
const INTEGERS = "#include <stdint.h>\n";
/** Guards of headers that those include for functions that no kernel calls: they would bring all of stdlib.h. */
const UNWANTED = "#define _MM_MALLOC_H_INCLUDED\n#define __MM_MALLOC_H\n";
/** Line numbers, and pragmas that change flags for a few functions: what a prelude uses its own flags allow. Arm's types come by pragma. */
const NOISE = /^[ \t]*#(?!\s*define|pragma GCC aarch64).*$/gm;

const settled = new Map<string, string>();

/**
 * The prelude with what it uses of its header in the header's place; the prelude as it is when that does not compile. `compiler` is a
 * program with its first arguments, `version` changes when it does.
 */
export function settleHeader(prelude: string, compiler: readonly string[], version: string, flags: readonly string[]): string {
  const include = INCLUDE.exec(prelude)?.[0];
  if (include === undefined) return prelude;
  const key = new Bun.CryptoHasher("sha256")
    .update([version, ...compiler, ...flags, prelude].join("\0"))
    .digest("hex")
    .slice(0, 32);
  let text = settled.get(key);
  if (text === undefined) {
    const dir = join(cacheDir(), "kernels");
    const file = join(dir, `${key}.h`);
    if (existsSync(file)) text = readFileSync(file, "utf8");
    else {
      mkdirSync(dir, { recursive: true });
      text = cutDown(include, prelude, [...compiler, ...flags]) ?? "";
      writeFileSync(`${file}.${process.pid}`, text);
      renameSync(`${file}.${process.pid}`, file);
    }
    settled.set(key, text);
  }
  return text ? put(prelude, include, text) : prelude;
}

const put = (prelude: string, include: string, text: string): string => prelude.replace(include, () => text).replace(INTEGERS, "");

/** What the prelude uses of the header; undefined when the two do not compile. */
function cutDown(include: string, prelude: string, command: readonly string[]): string | undefined {
  const whole = run([...command, "-E", "-dD", "-x", "c", "-"], `${UNWANTED}${include}${INTEGERS}`);
  if (whole === undefined) return undefined;
  const text = needed(whole.replace(NOISE, ""), prelude);
  // Functions that were not found must not pass for ones of another file, so that warning is wanted, and is an error.
  const strict = command.filter((f) => f !== "-w");
  const check = [...strict, "-Werror=implicit-function-declaration", "-fsyntax-only", "-x", "c", "-"];
  return run(check, put(prelude, include, text)) === undefined ? undefined : text;
}

function run(command: readonly string[], input: string): string | undefined {
  const r = Bun.spawnSync([...command], { stdin: Buffer.from(input), stdout: "pipe", stderr: "ignore" });
  return r.exitCode === 0 ? r.stdout.toString() : undefined;
}
