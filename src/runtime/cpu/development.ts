/** The kernels library that `build.ts` left in a checkout: used only while it was made from exactly the sources that are there now. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = (): string => fileURLToPath(new URL("../../..", import.meta.url));

/** Folders whose text decides what is in the library. */
const SOURCES = ["kernels", "src/compiler", "src/runtime/cpu"];

/** Hash of every source that the library is made of. */
export function sourceHash(): string {
  const hash = new Bun.CryptoHasher("sha256");
  for (const folder of SOURCES) {
    const files = readdirSync(join(root(), folder), { recursive: true, withFileTypes: true }).filter(
      (f) => f.isFile() && /\.(ts|c)$/.test(f.name),
    );
    for (const path of files.map((f) => join(f.parentPath, f.name)).sort()) {
      hash.update(`${relative(root(), path)}\0`);
      hash.update(readFileSync(path));
    }
  }
  return hash.digest("hex");
}

/** File name of the library of a platform, e.g. "liballoy-linux-x64.so". */
export function libraryName(target: string): string {
  return `liballoy-${target}.${target.startsWith("darwin") ? "dylib" : "so"}`;
}

/** Path of an up-to-date library for this machine in dist/kernels, if there is one. ALLOY_LIBRARY=none ignores it. */
export function developmentLibrary(): string | undefined {
  if (process.env.ALLOY_LIBRARY === "none") return undefined;
  const path = join(root(), "dist", "kernels", libraryName(`${process.platform}-${process.arch}`));
  if (!existsSync(path) || !existsSync(`${path}.hash`)) return undefined;
  return readFileSync(`${path}.hash`, "utf8") === sourceHash() ? path : undefined;
}
