/** Packed weights on disk: what a second load gets is what packing gives, whatever has happened to the files meanwhile. */
import { afterAll, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CacheSettings, cacheSettings, removeStalePacked } from "../../src/graph/packed-cache.ts";
import { createDevice } from "../../src/runtime/index.ts";
import { load, type Loaded, NAMES, writeModel } from "./packed-model.ts";

const root = mkdtempSync(join(tmpdir(), "alloy-packed-"));
const device = createDevice("cpu", { threads: 2 });
afterAll(() => {
  device.close();
  rmSync(root, { recursive: true, force: true });
});

const model = (name: string, seed: number): string => {
  const path = join(root, `${name}.gguf`);
  writeModel(path, seed);
  return path;
};
const place = (name: string, more: Partial<CacheSettings> = {}): CacheSettings => ({
  folder: join(root, name),
  limit: 2 ** 30,
  least: 0,
  ...more,
});
/** Loads, writes what was packed, and closes. */
async function once(path: string, settings: CacheSettings): Promise<Loaded> {
  const one = load(device, path, settings);
  await one.weights.writeCache(() => false);
  one.close();
  return one;
}
const files = (settings: CacheSettings): string[] =>
  existsSync(settings.folder)
    ? readdirSync(settings.folder, { recursive: true, encoding: "utf8" })
        .map((f) => join(settings.folder, f))
        .filter((f) => statSync(f).isFile() && !f.endsWith("source.json"))
    : [];

const first = model("first", 1);
const fresh = load(device, first, place("never", { limit: 0 }));
fresh.close();

test("the second load maps what the first one wrote", async () => {
  const settings = place("plain");
  const one = await once(first, settings);
  expect(one.mapped).toBe(0);
  expect(one.hashes).toEqual(fresh.hashes);
  const two = load(device, first, settings);
  expect(two.mapped).toBe(NAMES.length);
  expect(two.hashes).toEqual(fresh.hashes);
  expect(two.weights.ownedBytes).toBe(0);
  two.close();
});

const PAGE = 4096;
test.each([
  ["cut short", (f: string) => truncateSync(f, statSync(f).size - 1)],
  ["empty", (f: string) => truncateSync(f, 0)],
  ["longer", (f: string) => writeFileSync(f, Buffer.concat([readFileSync(f), Buffer.alloc(10)]))],
  [
    "of another version",
    (f: string) => writeFileSync(f, Buffer.from(readFileSync(f).toString("latin1").replace("weights 1", "weights 0"), "latin1")),
  ],
  ["without its header", (f: string) => writeFileSync(f, Buffer.concat([Buffer.alloc(PAGE), readFileSync(f).subarray(PAGE)]))],
  ["a folder", (f: string) => (rmSync(f), mkdirSync(f))],
  ["gone", (f: string) => rmSync(f)],
])("a file that is %s is made again", async (what, damage) => {
  const settings = place(`broken-${what}`);
  await once(first, settings);
  for (const f of files(settings)) damage(f);
  const two = await once(first, settings);
  expect(two.hashes).toEqual(fresh.hashes);
  expect(two.mapped).toBe(0);
  const three = await once(first, settings);
  expect(three.mapped).toBe(NAMES.length);
  expect(three.hashes).toEqual(fresh.hashes);
});

test("another file under the same name, and the same file after a change, are other models", async () => {
  const settings = place("changed");
  const path = model("changing", 2);
  const before = await once(path, settings);
  writeModel(path, 3);
  const after = await once(path, settings);
  expect(after.mapped).toBe(0);
  expect(after.hashes).not.toEqual(before.hashes);
  utimesSync(path, new Date(), new Date(1e12));
  expect((await once(path, settings)).mapped).toBe(0);
});

test("weights of files that are gone or have changed are deleted; those of others stay", async () => {
  const settings = place("stale");
  const path = model("leaving", 4);
  await once(path, settings);
  await once(first, settings);
  expect(removeStalePacked(settings.folder)).toBe(0);
  const bytes = files(settings).reduce((n, f) => n + statSync(f).size, 0);
  rmSync(path);
  const freed = removeStalePacked(settings.folder);
  expect(freed).toBeGreaterThan(bytes * 0.4);
  expect(freed).toBeLessThan(bytes * 0.6);
  expect((await once(first, settings)).mapped).toBe(NAMES.length);
});

test("what was not used for longest gives way; what is larger than the limit is not kept", async () => {
  const paths = [5, 6, 7].map((seed) => model(`lru-${seed}`, seed));
  const probe = place("probe");
  await once(paths[0], probe);
  const size = files(probe).reduce((n, f) => n + statSync(f).size, 0);
  const settings = place("lru", { limit: 2.5 * size });
  await once(paths[0], settings);
  await once(paths[1], settings);
  // Use of the older one makes the other the older one, however coarse the disk's clock.
  for (const d of readdirSync(settings.folder)) utimesSync(join(settings.folder, d), new Date(1e12), new Date(1e12));
  const used = load(device, paths[0], settings);
  expect(used.mapped).toBe(NAMES.length);
  await once(paths[2], settings);
  const [a, b, c] = paths.map((p) => {
    const one = load(device, p, { ...settings });
    one.close();
    return one.mapped;
  });
  expect([a, b, c]).toEqual([NAMES.length, 0, NAMES.length]);
  used.close();
  const small = place("small", { limit: size / 2 });
  await once(paths[0], small);
  expect(files(small)).toEqual([]);
});

test("stopping leaves whole files only, and the next writer goes on", async () => {
  const settings = place("stopped");
  const one = load(device, first, settings);
  const writing = one.weights.writeCache(() => true);
  await Bun.sleep(1);
  one.close();
  await writing;
  expect(files(settings).filter((f) => f.endsWith(".part"))).toEqual([]);
  const kept = files(settings).length;
  const two = await once(first, settings);
  expect(two.mapped).toBe(kept);
  expect(two.hashes).toEqual(fresh.hashes);
  expect((await once(first, settings)).mapped).toBe(NAMES.length);
});

test("what a writer that died left is swept away, what another one is writing is not", async () => {
  const settings = place("died");
  await once(first, settings);
  const [one] = files(settings);
  writeFileSync(`${one}.1.part`, "half");
  utimesSync(`${one}.1.part`, new Date(1e12), new Date(1e12));
  writeFileSync(`${one}.2.part`, "half");
  rmSync(one);
  await once(first, settings);
  expect(files(settings).filter((f) => f.endsWith(".part"))).toEqual([`${one}.2.part`]);
});

test("a folder that cannot be written changes nothing", async () => {
  const file = join(root, "a-file");
  writeFileSync(file, "");
  for (const folder of [file, join(file, "below"), "/proc/alloy"]) {
    const one = await once(first, place("", { folder }));
    expect(one.hashes).toEqual(fresh.hashes);
    expect(one.mapped).toBe(0);
  }
});

test.each([
  ["before", "600k"],
  ["meanwhile", "2m"],
])("a disk that is full %s ends the writing", async (when, size) => {
  const settings = place(`full-${when}`);
  mkdirSync(settings.folder);
  // Only root may mount.
  if (!Bun.spawnSync(["mount", "-t", "tmpfs", "-o", `size=${size}`, "none", settings.folder], { stderr: "ignore" }).success) return;
  try {
    const one = load(device, first, settings);
    const writing = one.weights.writeCache(() => false);
    if (when === "meanwhile") expect(() => writeFileSync(join(settings.folder, "other"), Buffer.alloc(4 << 20))).toThrow("ENOSPC");
    await writing;
    one.close();
    expect(one.hashes).toEqual(fresh.hashes);
    expect(files(settings).filter((f) => !f.endsWith("/other"))).toEqual([]);
    expect((await once(first, settings)).hashes).toEqual(fresh.hashes);
  } finally {
    Bun.spawnSync(["umount", settings.folder]);
  }
});

test("processes that write at the same time leave one whole cache", async () => {
  const settings = place("two");
  const processes = [1, 2, 3].map(() =>
    Bun.spawn([process.execPath, join(import.meta.dir, "packed-process.ts"), first, settings.folder, "3"], { stdout: "pipe" }),
  );
  for (const p of processes) {
    expect(JSON.parse(await new Response(p.stdout).text())).toEqual([fresh.hashes.join()]);
    expect(await p.exited).toBe(0);
  }
  expect(files(settings).filter((f) => f.endsWith(".part"))).toEqual([]);
  expect((await once(first, settings)).mapped).toBe(NAMES.length);
});

test("ALLOY_WEIGHT_CACHE sets the limit or turns it off", () => {
  const limit = (text?: string) => cacheSettings({ HOME: "/h", ALLOY_WEIGHT_CACHE: text }).limit;
  expect(limit("8GiB")).toBe(8 * 2 ** 30);
  expect(limit("off")).toBe(0);
  expect(limit("0")).toBe(0);
  expect(limit("plenty")).toBe(0);
  expect(limit()).toBe(limit(""));
  expect(limit()).toBeGreaterThan(2 ** 30);
});
