/** Rows 38, 41, 47, 89 and 96 of the acceptance matrix: embeddings, audio and reranking: no model does them yet, and what is wrong with a request is said all the same. */
import { expect, test } from "bun:test";
import { Ollama } from "ollama";
import OpenAI from "openai";
import { failure, type Harness, start } from "../server/harness.ts";
import { scriptedModel } from "../server/scripted-engine.ts";

const models = [scriptedModel("demo"), scriptedModel("embedder", { capabilities: ["embedding"] })];
const client = (h: Harness) => new OpenAI({ baseURL: `${h.url}/v1`, apiKey: "none" });
/** Status, code and field of each answer. */
async function outcome(response: Response): Promise<[number, string, string | null]> {
  const { error } = await response.json();
  return [response.status, error.code, error.param];
}

test("row 41: embeddings", async () => {
  await using h = await start({ models });
  const ask = async (body: object) => outcome(await h.post("/v1/embeddings", body));
  for (const input of [undefined, null, [], {}, 5, [1.5], ["a", 1], [[]]]) {
    expect(await ask({ model: "embedder", input })).toEqual([400, "invalid_value", "input"]);
  }
  expect(await ask({ input: "x" })).toEqual([400, "missing_required_parameter", "model"]);
  expect(await ask({ model: "embedder", input: "x", encoding_format: "hex" })).toEqual([400, "invalid_value", "encoding_format"]);
  expect(await ask({ model: "embedder", input: Array.from({ length: 2049 }, () => "x") })).toEqual([400, "invalid_value", "input"]);
  expect(await ask({ model: "nope", input: "x" })).toEqual([404, "model_not_found", "model"]);
  for (const input of ["", "x", ["x", ""], [1, 2], [[1], [2, 3]]]) {
    expect(await ask({ model: "demo", input })).toEqual([400, "unsupported_capability", "model"]);
    expect(await ask({ model: "embedder", input })).toEqual([501, "unsupported_feature", null]);
  }
  expect(await failure(client(h).embeddings.create({ model: "text-embedding-3-small", input: "x" }))).toMatchObject({ status: 501 });
});

test("row 89: Ollama's embeddings", async () => {
  await using h = await start({ models });
  const ollama = new Ollama({ host: h.url });
  expect((await failure(ollama.embed({ model: "demo", input: "x" }))).message).toBe('"demo" does not support embeddings');
  expect((await failure(ollama.embeddings({ model: "embedder", prompt: "x" }))).message).toContain("not supported by this version");
  expect((await failure(ollama.embed({ model: "nope", input: "x" }))).message).toBe('model "nope" not found, try pulling it first');
  const odd = await h.post("/api/embed", { model: "demo", input: 5 });
  expect([odd.status, await odd.json()]).toEqual([400, { error: "invalid input type" }]);
});

test("row 38: audio in a message is refused, and which model cannot hear it is said", async () => {
  await using h = await start({ models });
  const part = { type: "input_audio" as const, input_audio: { data: "UklGRg==", format: "wav" as const } };
  const error = await failure(
    client(h).chat.completions.create({ model: "demo", messages: [{ role: "user", content: [{ type: "text", text: "What?" }, part] }] }),
  );
  expect(error).toMatchObject({ status: 400, code: "unsupported_content", param: "messages[0].content[1]" });
  expect(error.message).toContain("'demo'");
});

test("row 47: transcriptions", async () => {
  await using h = await start({ models });
  const form = async (fields: Record<string, string | Blob>, path = "/v1/audio/transcriptions") => {
    const body = new FormData();
    for (const [key, value] of Object.entries(fields)) body.append(key, value);
    return outcome(await fetch(h.url + path, { method: "POST", body }));
  };
  const file = new File(["RIFF"], "a.wav");
  expect(await form({ model: "demo" })).toEqual([400, "missing_required_parameter", "file"]);
  expect(await form({ model: "demo", file: new File([], "a.wav") })).toEqual([400, "invalid_value", "file"]);
  expect(await form({ file })).toEqual([400, "missing_required_parameter", "model"]);
  expect(await form({ file, model: "demo", response_format: "diarized_json" })).toEqual([400, "invalid_value", "response_format"]);
  expect(await form({ file, model: "demo", "timestamp_granularities[]": "word" })).toEqual([
    400,
    "invalid_value",
    "timestamp_granularities",
  ]);
  expect(await form({ file, model: "whisper-1" })).toEqual([404, "model_not_found", "model"]);
  expect(await form({ file, model: "demo" }, "/v1/audio/translations")).toEqual([400, "unsupported_capability", "model"]);
  const error = await failure(client(h).audio.transcriptions.create({ model: "demo", file }));
  expect(error).toMatchObject({ status: 400, code: "unsupported_capability" });
  expect(await outcome(await h.post("/v1/audio/transcriptions", {}))).toEqual([400, "invalid_value", null]);
  const large = new File([new Uint8Array(26 * 2 ** 20)], "a.wav");
  expect(await form({ file: large, model: "demo" })).toEqual([413, "request_too_large", null]);
});

test("row 96: reranking", async () => {
  await using h = await start({ models });
  for (const path of ["/v1/rerank", "/rerank", "/reranking", "/v1/reranking"]) {
    const response = await h.post(path, { model: "demo", query: "q", documents: ["a", { text: "b" }] });
    expect(response.headers.get("x-should-retry")).toBe("false");
    expect([response.status, await response.json()]).toMatchObject([501, { error: { type: "not_supported_error" } }]);
  }
  expect((await h.post("/rerank", { model: "demo", query: "q", texts: ["a"] })).status).toBe(501);
  const ask = async (body: object) => outcome(await h.post("/v1/rerank", { model: "demo", ...body }));
  expect(await ask({ documents: ["a"] })).toEqual([400, "missing_required_parameter", "query"]);
  expect(await ask({ query: "q" })).toEqual([400, "missing_required_parameter", "documents"]);
  expect(await ask({ query: "q", documents: [] })).toEqual([400, "invalid_value", "documents"]);
  expect(await ask({ query: "q", documents: [5] })).toEqual([400, "invalid_type", "documents[0]"]);
});
