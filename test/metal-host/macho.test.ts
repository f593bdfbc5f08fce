/** The dylib for Macs as Linux builds it: the same bytes anywhere, signed, and linked with nothing but what it should be. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildShim, crossTools, SHIM_NAME } from "../../objc-shim/build.ts";
import { executableProblems, headerFunctions, shimProblems } from "../../objc-shim/check.ts";
import { readMachO } from "../../objc-shim/macho.ts";

const ROOT = join(import.meta.dir, "..", "..");
const tools = process.platform === "darwin" ? undefined : crossTools();
if (!tools)
  console.log("The Mach-O tests are skipped: they need clang-19 and lld-19 on Linux (on Debian: sh install.sh --test brings them)");

// Compiling takes a second or two, and much longer on a machine that is busy.
setDefaultTimeout(120_000);

describe.skipIf(!tools)("the dylib for Macs", () => {
  const folder = mkdtempSync(join(tmpdir(), "alloy-macho-"));
  let made: Buffer | undefined;
  const build = (): Buffer => (made ??= readFileSync(buildShim(folder)));

  test("is signed, links the system's libraries only, and exports what the header declares", () => {
    const bytes = build();
    expect(shimProblems(bytes)).toEqual([]);
    const file = readMachO(bytes);
    expect(file.exports.toSorted()).toEqual(headerFunctions());
    expect(headerFunctions().length).toBeGreaterThan(15);
    expect(file.minOs).toBe("13.0");
    expect(file.signature).toMatchObject({ identifier: SHIM_NAME, adhoc: true, valid: true });
    const of = (library: RegExp): string[] => file.imports.filter((i) => library.test(i.library)).map((i) => i.name);
    expect(of(/Metal/)).toContain("MTLCreateSystemDefaultDevice");
    expect(of(/libobjc/)).toContain("objc_msgSend");
    expect(file.imports.filter((i) => i.library === "any")).toEqual([]);
  });

  test("is the same byte for byte, also when it is built in another folder", () => {
    const other = mkdtempSync(join(tmpdir(), "alloy-elsewhere-"));
    cpSync(join(ROOT, "objc-shim"), join(other, "objc-shim"), { recursive: true });
    mkdirSync(join(other, "src"));
    cpSync(join(ROOT, "src", "support"), join(other, "src", "support"), { recursive: true });
    const r = Bun.spawnSync([process.execPath, join(other, "objc-shim", "build.ts")], { stderr: "pipe" });
    expect(r.stderr.toString()).toBe("");
    const elsewhere = readFileSync(join(other, "dist", "metal", SHIM_NAME));
    expect(build().equals(elsewhere)).toBe(true);
    rmSync(other, { recursive: true });
  });

  test("what is wrong with one is found", () => {
    const bytes = build();
    const changed = (at: number): string[] => {
      const copy = Buffer.from(bytes);
      copy[at] ^= 1;
      return shimProblems(copy);
    };
    expect(changed(20000)).toContain("its signature is missing or wrong");
    // The name of an export: "_alloy_metal_abi" lies among the symbols' names.
    const name = bytes.lastIndexOf("_alloy_metal_abi");
    expect(changed(name + 15).join()).toMatch(/it exports .*alloy_metal_abh/);
    const library = bytes.indexOf("/usr/lib/libobjc.A.dylib");
    expect(changed(library + 12).join()).toMatch(/it links \/usr\/lib\/lib/);
    expect(executableProblems(bytes, { [SHIM_NAME]: Buffer.from("not there") })).toEqual([
      "it is a dylib for arm64",
      `it does not hold ${SHIM_NAME}`,
    ]);
    expect(() => readMachO(bytes.subarray(1))).toThrow("not a 64-bit Mach-O file");
    rmSync(folder, { recursive: true });
  });
});
