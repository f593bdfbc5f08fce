/** Looks at what was built for Macs as far as that can be done elsewhere: the shim, the kernels library, the executable with both in it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { MIN_MACOS, SHIM_LIBRARIES, SHIM_NAME } from "./build.ts";
import type { MachO } from "./macho.ts";
import { readMachO } from "./macho.ts";

const HEADER = fileURLToPath(new URL("./alloy_metal.h", import.meta.url));

/** The functions that alloy_metal.h declares. */
export const headerFunctions = (): string[] =>
  [...readFileSync(HEADER, "utf8").matchAll(/^ALLOY_METAL_API \w+ (alloy_metal_\w+)\(/gm)].map((m) => m[1]).sort();

const SYSTEM = /^\/usr\/lib\/lib(objc\.A|System\.B)\.dylib$/;
const FRAMEWORK = new RegExp(`^/System/Library/Frameworks/(${SHIM_LIBRARIES.join("|")})\\.framework/`);

function common(file: MachO, kind: MachO["kind"]): string[] {
  const problems: string[] = [];
  if (file.cpu !== "arm64" || file.kind !== kind) problems.push(`it is a ${file.kind} for ${file.cpu}`);
  if (file.minOs !== MIN_MACOS) problems.push(`it needs macOS ${file.minOs}, not ${MIN_MACOS}`);
  if (!file.signature?.valid) problems.push("its signature is missing or wrong");
  return problems;
}

function dylib(file: MachO, name: string, libraries: (path: string) => boolean): string[] {
  const problems = common(file, "dylib");
  if (file.id !== `@rpath/${name}`) problems.push(`its install name is ${file.id}`);
  if (file.signature && file.signature.identifier !== name) problems.push(`it is signed as ${file.signature.identifier}`);
  for (const path of file.libraries) if (!libraries(path)) problems.push(`it links ${path}`);
  for (const i of file.imports) if (i.library === "any") problems.push(`${i.name} is looked up everywhere`);
  return problems;
}

/** What is wrong with a built shim; nothing, normally. */
export function shimProblems(bytes: Uint8Array): string[] {
  const file = readMachO(bytes);
  const problems = dylib(file, SHIM_NAME, (path) => SYSTEM.test(path) || FRAMEWORK.test(path));
  const [made, declared] = [file.exports.toSorted().join(" "), headerFunctions().join(" ")];
  if (made !== declared) problems.push(`it exports ${made}, the header declares ${declared}`);
  return problems;
}

/** What is wrong with a kernels library for darwin-arm64. */
export function kernelsProblems(bytes: Uint8Array, name: string): string[] {
  const file = readMachO(bytes);
  const problems = dylib(file, name, (path) => path === "/usr/lib/libSystem.B.dylib");
  if (file.exports.join() !== "alloy_lookup") problems.push(`it exports ${file.exports.slice(0, 10).join(" ")}`);
  return problems;
}

/** What is wrong with an executable that shall hold these files. */
export function executableProblems(bytes: Uint8Array, embedded: Readonly<Record<string, Uint8Array>>): string[] {
  const problems = common(readMachO(bytes), "executable");
  const whole = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (const [name, file] of Object.entries(embedded)) if (!whole.includes(file)) problems.push(`it does not hold ${name}`);
  return problems;
}

/** Builds the darwin-arm64 executable and checks it with all that it holds. Ends the process with 1 when something is wrong. */
export async function checkAll(root: string, shim: string): Promise<void> {
  const built = Bun.spawnSync([process.execPath, join(root, "build.ts"), "--target", "darwin-arm64"], {
    stdout: "inherit",
    stderr: "inherit",
  });
  if (!built.success) process.exit(1);
  const kernelsName = "liballoy-darwin-arm64.dylib";
  const kernels = readFileSync(join(root, "dist", "kernels", kernelsName));
  const shimBytes = readFileSync(shim);
  const name = process.platform === "darwin" && process.arch === "arm64" ? "alloy" : "alloy-darwin-arm64";
  const executable = readFileSync(join(root, "dist", name));
  const problems = [
    ...shimProblems(shimBytes).map((p) => `${SHIM_NAME}: ${p}`),
    ...kernelsProblems(kernels, kernelsName).map((p) => `${kernelsName}: ${p}`),
    ...executableProblems(executable, { [SHIM_NAME]: shimBytes, [kernelsName]: kernels }).map((p) => `${name}: ${p}`),
  ];
  for (const p of problems) console.error(p);
  if (problems.length) process.exit(1);
  const sizes = [shimBytes, kernels, executable].map((b) => `${(b.length / 1e6).toFixed(2)} MB`);
  console.log(
    `${SHIM_NAME} ${sizes[0]}, ${kernelsName} ${sizes[1]}, ${name} ${sizes[2]}: signatures, libraries and symbols are as they should be`,
  );
}
