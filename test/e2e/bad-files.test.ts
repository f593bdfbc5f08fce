/** Files that are no usable model, through the command line: exit 1, one sentence on what is wrong, one on what to do, no stack trace. */
import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeGguf } from "../../src/formats/gguf-write.ts";
import { runAlloy } from "./harness.ts";

setDefaultTimeout(120_000);
const folder = mkdtempSync(join(tmpdir(), "alloy-bad-files-"));
afterAll(() => rmSync(folder, { recursive: true }));
const demo = await Bun.file(join(import.meta.dir, "../../assets/alloy-demo-q8_0.gguf")).bytes();

function file(name: string, bytes: Uint8Array | string): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}
const changed = (at: number, ...bytes: number[]): Uint8Array => {
  const copy = demo.slice();
  copy.set(bytes, at);
  return copy;
};

const lama = join(folder, "lama.gguf");
writeGguf(lama, {
  metadata: { "general.architecture": "lama" },
  tensors: [{ name: "token_embd.weight", type: "f32", shape: [2, 32], data: new Uint8Array(256) }],
});
const huge = file("absurd.gguf", demo);
truncateSync(huge, 4000);

test.each([
  ["a file that is not there", join(folder, "nothing.gguf"), /nothing\.gguf/],
  ["an empty file", file("empty.gguf", ""), /empty\.gguf.*empty/],
  ["text", file("notes.gguf", "just some notes, quite long enough for a header"), /not a GGUF|GGUF/],
  ["wrong magic", file("magic.gguf", changed(0, 0x47, 0x47, 0x4d, 0x4c)), /magic|GGUF/],
  ["unknown version", file("version.gguf", changed(4, 99)), /version 99/],
  ["an absurd tensor count", file("count.gguf", changed(8, 255, 255, 255, 255, 255, 255, 255)), /count.gguf.*tensor/],
  ["cut in the header", huge, /absurd\.gguf/],
  ["cut in the weights", file("cut.gguf", demo.subarray(0, demo.length >> 1)), /cut\.gguf/],
  ["an unknown architecture", lama, /architecture "lama" is not supported/],
  ["a folder without a model", folder, /alloy-bad-files|config\.json/],
] as const)("%s", async (_, path, message) => {
  for (const args of [
    ["run", "-m", path, "hi"],
    ["bench", path, "-r", "1"],
    ["logits", path, "--ids", "1"],
  ]) {
    const { code, stdout, stderr } = await runAlloy(args);
    expect({ args, code }).toEqual({ args, code: 1 });
    expect(stdout).toBe("");
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^alloy: .+\nhint: .+\n$/);
  }
});

test("an unknown name: a close one is suggested", async () => {
  const { code, stderr } = await runAlloy(["show", "dmeo"]);
  expect(code).toBe(1);
  expect(stderr).toContain("demo");
});
