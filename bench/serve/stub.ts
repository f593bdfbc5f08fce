/** A server whose engine answers at once, in a process of its own: what it costs is HTTP, JSON and frames. Prints its URL. */
import type { Engine, GenerateEvent, GenerateRequest, LoadedModel, ModelInfo } from "../../src/engine/api.ts";
import { createServer } from "../../src/server/app.ts";

const info: ModelInfo = {
  name: "stub",
  path: "stub.gguf",
  format: "gguf",
  architecture: "none",
  parameters: 1,
  fileBytes: 1,
  quantization: "F16",
  contextLength: 4096,
  embeddingLength: 1,
  capabilities: ["completion", "tools"],
  modified: "2026-01-01T00:00:00Z",
  digest: "0",
  metadata: {},
};
const usage = (completionTokens: number) => ({ promptTokens: 10, cachedTokens: 0, completionTokens, reasoningTokens: 0 });

async function* generate({ maxTokens = 1 }: GenerateRequest): AsyncGenerator<GenerateEvent> {
  yield { type: "start", promptTokens: 10, seed: 1 };
  // As of an engine elsewhere: each token comes with a message of its own.
  for (let i = 0; i < maxTokens; i++) {
    await new Promise((resolve) => setImmediate(resolve));
    yield { type: "delta", delta: { type: "text", text: " word" } };
  }
  const timings = { queued: 0, load: 0, prefill: 0, decode: 0, total: 0 };
  yield { type: "end", reason: "length", usage: usage(maxTokens), timings, ids: [] };
}

const loaded: LoadedModel[] = [];
const engine: Engine = {
  models: async () => [info],
  model: async () => info,
  loaded: async () => loaded,
  load: async () => {},
  unload: async () => {},
  generate,
  tokenize: async () => ({ ids: [1] }),
  detokenize: async () => "",
  tokenBytes: async () => [],
  close: async () => {},
};

const server = await createServer({ engine, host: "127.0.0.1", port: 0, env: {} });
console.log(JSON.stringify({ url: server.url }));
process.on("SIGTERM", () => process.exit(0));
