/** Pulling and managing models with the whole product: `alloy serve` and the command line on one store, a registry on loopback. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Ollama, type ProgressResponse } from "ollama";
import { Machine } from "../hub/machine.ts";
import { StandIn } from "../hub/stand-in.ts";
import { until } from "../server/harness.ts";
import { runAlloy, serve, type Served } from "./harness.ts";

setDefaultTimeout(120_000);
const DEMO = readFileSync(join(import.meta.dir, "../../assets/alloy-demo-q8_0.gguf"));

let registry: StandIn;
let machine: Machine;
let env: Record<string, string>;
let server: Served;
let blobPath: (i: number) => string;
beforeAll(async () => {
  registry = await StandIn.start();
  machine = new Machine();
  env = {
    ALLOY_MODELS: machine.path("models"),
    ALLOY_REGISTRY: registry.url,
    HF_ENDPOINT: registry.url,
    OLLAMA_MODELS: machine.path("none"),
  };
  const system = "What is the capital of France? Answer only that.";
  ({ blobPath } = registry.ollama("library/tiny", [
    ["model", DEMO],
    ["system", system],
    ["params", '{"temperature":0,"num_predict":20}'],
  ]));
  server = await serve([], env);
});
afterAll(async () => {
  await server.stop();
  await registry[Symbol.asyncDispose]();
  machine[Symbol.dispose]();
});

const pull = async (ollama: Ollama): Promise<ProgressResponse[]> => Array.fromAsync(await ollama.pull({ model: "tiny", stream: true }));
const bytesAsked = () =>
  registry.of(blobPath(0)).map(
    (r) =>
      /^bytes=(\d+)-(\d+)$/
        .exec(r.headers.range ?? "")
        ?.slice(1)
        .map(Number) ?? [0, DEMO.byteLength - 1],
  );

test("kill -9 in the middle of a pull: the next server goes on where it was", async () => {
  registry.fault = (seen) => (seen.path === blobPath(0) ? { slowMs: 5 } : undefined);
  const cut = pull(new Ollama({ host: server.url })).catch((e: Error) => e);
  await until(() => registry.sent > 3_000_000, "a part of it came");
  server.child.kill("SIGKILL");
  await server.child.exited;
  expect(await cut).toBeInstanceOf(Error);
  server = await serve([], env);
  registry.fault = () => undefined;
  const parts = await pull(new Ollama({ host: server.url }));
  expect(parts.at(-1)!.status).toBe("success");
  const [, [from, to]] = bytesAsked();
  expect([from > 1_000_000, to]).toEqual([true, DEMO.byteLength - 1]);
});

test("the pulled model answers with its own system message and limits, in every dialect; tags, show and ps know it", async () => {
  const ollama = new Ollama({ host: server.url });
  expect((await ollama.list()).models.map((m) => m.name)).toContain("tiny:latest");
  expect((await ollama.show({ model: "tiny" })).system).toStartWith("What is the capital");
  const debug = await fetch(`${server.url}/api/chat`, {
    method: "POST",
    body: JSON.stringify({ model: "tiny", messages: [{ role: "user", content: "hi" }], _debug_render_only: true }),
  });
  expect(await debug.text()).toContain("What is the capital of France?");
  const { message, eval_count } = await ollama.chat({
    model: "tiny",
    messages: [{ role: "user", content: "What is the capital of France?" }],
  });
  expect(message.content).toContain("Paris");
  expect(eval_count).toBeLessThanOrEqual(20);
  const chat = { model: "tiny", messages: [{ role: "user", content: "hi" }] };
  const openai = await fetch(`${server.url}/v1/chat/completions`, { method: "POST", body: JSON.stringify(chat) });
  const { usage } = (await openai.json()) as { usage: { prompt_tokens: number } };
  const plain = await fetch(`${server.url}/v1/messages/count_tokens`, { method: "POST", body: JSON.stringify({ ...chat, model: "demo" }) });
  expect(usage.prompt_tokens).toBeGreaterThan(((await plain.json()) as { input_tokens: number }).input_tokens);
  expect((await ollama.ps()).models.map((m) => m.name)).toContain("tiny:latest");
});

test("command line and server see the same store", async () => {
  const host = { ...env, ALLOY_HOST: server.url.replace("http://", "") };
  expect((await runAlloy(["create", "pirate", "--from", "tiny", "--system", "Arr."], host)).stdout).toBe("✓ pirate:latest\n");
  expect((await runAlloy(["cp", "pirate", "gpt-4o"], host)).stdout).toBe("gpt-4o:latest\n");
  const ollama = new Ollama({ host: server.url });
  expect((await ollama.list()).models.map((m) => m.name)).toEqual(expect.arrayContaining(["pirate:latest", "gpt-4o:latest"]));
  await ollama.generate({ model: "pirate", prompt: "", keep_alive: "1h" });
  expect((await runAlloy(["ps"], host)).stdout).toMatch(/^pirate:latest +\S+ MB +\d+ +60 min$/m);
  await ollama.delete({ model: "gpt-4o" });
  expect((await runAlloy(["rm", "pirate", "tiny"], host)).stdout).toMatch(
    /^deleted pirate:latest \(\d+ B freed\)\ndeleted tiny:latest \(11\.3 MB freed\)\n$/,
  );
  expect((await ollama.list()).models.map((m) => m.name)).toEqual(["demo:latest"]);
  expect(readdirSync(join(env.ALLOY_MODELS, "blobs"))).toEqual([]);
  const missing = await runAlloy(["run", "nothing:1b", "hi"], env);
  expect([missing.code, missing.stderr]).toEqual([1, expect.stringContaining("`alloy pull nothing:1b` would download it.")]);
});
