/** Answers of servers, changed at random: a pull succeeds or says what is wrong, and writes nowhere but into the store. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parseModelfile } from "../../src/hub/modelfile.ts";
import { pullModel } from "../../src/hub/pull/pull.ts";
import { AlloyError } from "../../src/support/errors.ts";
import { Machine } from "./machine.ts";
import { StandIn } from "./stand-in.ts";

const ROUNDS = 150;
let state = Number(process.env.ALLOY_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
console.log(`hostile servers: seed ${state} (ALLOY_TEST_SEED=${state} repeats it)`);
const random = () => (state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff) / 0x80000000;
const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)];

let server: StandIn;
let machine: Machine;
beforeEach(async () => {
  server = await StandIn.start();
  machine = new Machine();
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
  machine[Symbol.dispose]();
});

const VALUES = [
  null,
  true,
  0,
  -1,
  1.5,
  2 ** 60,
  "",
  "x",
  "../../../evil",
  "/etc/passwd",
  "sha256:../..",
  "a\0b",
  "..\\evil",
  [],
  {},
  [[]],
  "é".repeat(300),
];

/** A JSON value with one place changed, dropped or doubled. */
function mutated(value: unknown): unknown {
  if (random() < 0.15 || typeof value !== "object" || value === null) return pick(VALUES);
  if (Array.isArray(value)) {
    if (value.length === 0) return [pick(VALUES)];
    const i = Math.floor(random() * value.length);
    return random() < 0.2 ? [...value, ...value] : value.map((v, j) => (j === i ? mutated(v) : (v as unknown)));
  }
  const entries = Object.entries(value);
  const i = Math.floor(random() * entries.length);
  if (random() < 0.15) return Object.fromEntries(entries.filter((_, j) => j !== i));
  return Object.fromEntries(entries.map(([k, v], j) => (j === i ? [k, mutated(v)] : [k, v as unknown])));
}

/** Text with some bytes changed. */
function scrambled(text: string): string {
  const chars = [...text];
  for (let n = 1 + Math.floor(random() * 4); n > 0; n--)
    chars[Math.floor(random() * chars.length)] = pick(["{", "}", '"', ",", "\0", "9", ""]);
  return chars.join("");
}

async function attempt(name: string): Promise<string> {
  const env = { ...machine.env, ALLOY_REGISTRY: server.url, HF_ENDPOINT: server.url };
  try {
    await pullModel(name, { env, net: { retryMs: 1, attempts: 2, silenceMs: 1000 }, freeBytes: () => 1e9 });
    return "pulled";
  } catch (e) {
    if (!(e instanceof AlloyError) || e.code === "internal") throw e;
    return e.code;
  } finally {
    // Nothing beside the store, and in it only what belongs there.
    for (const f of readdirSync(machine.root)) expect(["made.gguf", ".alloy"]).toContain(f);
    const root = join(machine.root, ".alloy/models");
    rmSync(root, { recursive: true, force: true });
  }
}

test("manifests of a registry", async () => {
  const gguf = readFileSync(machine.gguf(machine.path("made.gguf")));
  const { manifest } = server.ollama("library/m", [
    ["model", gguf],
    ["system", "x"],
  ]);
  const outcomes = new Set<string>();
  for (let i = 0; i < ROUNDS; i++) {
    const text = manifest.toString();
    const changed = random() < 0.3 ? scrambled(text) : JSON.stringify(mutated(JSON.parse(text)));
    server.on("/v2/library/m/manifests/latest", { body: Buffer.from(changed) });
    outcomes.add(await attempt("m"));
  }
  expect([...outcomes]).toEqual(expect.arrayContaining(["pulled", "bad_file"]));
}, 120_000);

test("what the Hugging Face hub says of a repository", async () => {
  const gguf = readFileSync(machine.gguf(machine.path("made.gguf")));
  const commit = "c0ffee0".padEnd(40, "0");
  server.repository("org/M-GGUF", { "README.md": Buffer.from("hi"), "m-Q4_0.gguf": gguf, "x/m-Q8_0-00001-of-00001.gguf": gguf });
  const bodies = new Map<string, string>();
  for (const path of [`/api/models/org/M-GGUF/revision/main`, `/api/models/org/M-GGUF/tree/${commit}`])
    bodies.set(path, await (await fetch(server.url + path)).text());
  const outcomes = new Set<string>();
  for (let i = 0; i < ROUNDS; i++) {
    for (const [path, text] of bodies) server.on(path, { body: Buffer.from(text) });
    const [path, text] = pick([...bodies]);
    server.on(path, { body: Buffer.from(random() < 0.3 ? scrambled(text) : JSON.stringify(mutated(JSON.parse(text)))) });
    outcomes.add(await attempt(pick(["org/M-GGUF", "org/M-GGUF:Q8_0", "hf.co/org/M-GGUF:safetensors"])));
  }
  expect([...outcomes]).toEqual(expect.arrayContaining(["pulled", "download_failed"]));
}, 120_000);

test("Modelfiles", () => {
  const text = 'FROM x\nPARAMETER stop "a"\nPARAMETER top_k 5\nSYSTEM """\nabc\n"""\nMESSAGE user hi\nLICENSE MIT\n';
  for (let i = 0; i < 5000; i++) {
    try {
      parseModelfile(scrambled(text));
    } catch (e) {
      if (!(e instanceof AlloyError)) throw e;
    }
  }
});
