/** Bad requests in every dialect: status, envelope, wording. Rows 3 to 7, 14 and 17 of the acceptance matrix. */
import { describe, expect, test } from "bun:test";
import zlib from "node:zlib";
import type { AccessEntry } from "../../src/server/access.ts";
import { AlloyError } from "../../src/support/errors.ts";
import { failure, type Harness, start, until } from "../server/harness.ts";
import { scriptedModel } from "../server/scripted-engine.ts";

const hi = [{ role: "user", content: "hi" }];
/** Each generation endpoint with a body that works. */
const ENDPOINTS = [
  ["/v1/chat/completions", "openai", { model: "demo", messages: hi }],
  ["/v1/completions", "openai", { model: "demo", prompt: "hi" }],
  ["/v1/responses", "openai", { model: "demo", input: "hi" }],
  ["/v1/messages", "anthropic", { model: "demo", messages: hi, max_tokens: 5 }],
  ["/v1/messages/count_tokens", "anthropic", { model: "demo", messages: hi }],
  ["/api/chat", "ollama", { model: "demo", messages: hi }],
  ["/api/generate", "ollama", { model: "demo", prompt: "hi" }],
  ["/api/show", "ollama", { model: "demo" }],
] as const;
type Dialect = (typeof ENDPOINTS)[number][1];

/** Checks the envelope of 1.7 and returns its message. */
async function message(response: Response, dialect: Dialect, status: number): Promise<string> {
  expect([response.status, response.headers.get("content-type")]).toEqual([status, "application/json; charset=utf-8"]);
  expect(response.headers.get("request-id")).toMatch(/^req_\w{24}$/);
  expect(response.headers.get("x-request-id")).toBe(response.headers.get("request-id"));
  const body = (await response.json()) as Record<string, unknown>;
  if (dialect === "ollama") {
    expect(body).toEqual({ error: expect.any(String) });
    return body.error as string;
  }
  const error = body.error as Record<string, unknown>;
  if (dialect === "anthropic") {
    expect(body).toEqual({
      type: "error",
      error: { type: expect.any(String), message: expect.any(String) },
      request_id: expect.any(String),
    });
  } else {
    expect(Object.keys(error).toSorted()).toEqual(["code", "message", "param", "type"]);
    expect(error.code === null || typeof error.code === "string").toBe(true);
  }
  return error.message as string;
}

describe.each(ENDPOINTS)("%s", (path, dialect, good) => {
  test("row 3: works as it is, whatever the content type says", async () => {
    await using h = await start();
    for (const type of ["application/json", "application/x-www-form-urlencoded", "text/plain", ""]) {
      const response = await h.post(path, good, { "content-type": type });
      expect(response.status).toBe(200);
      await response.text();
    }
  });

  test("row 5: empty body, malformed JSON, wrong type, no object", async () => {
    await using h = await start();
    expect(await message(await h.post(path, ""), dialect, 400)).toContain("missing request body");
    expect(await message(await h.post(path, '{"model": "demo",}'), dialect, 400)).toContain(
      'unexpected "}" in JSON at position 17 (line 1, column 18)',
    );
    expect(await message(await h.post(path, "{"), dialect, 400)).toContain("unexpected end of JSON input at position 1");
    expect(await message(await h.post(path, { ...good, model: 5 }), dialect, 400)).toContain("must be a string, not the number 5");
    expect(await message(await h.post(path, "[]"), dialect, 400)).toContain("must be a JSON object, not an array");
    expect(h.engine.requests).toEqual([]);
  });

  test("row 6: no model, unknown model, a path for a model", async () => {
    await using h = await start();
    const { model: _, ...rest } = good;
    const none = await message(await h.post(path, rest), dialect, path === "/api/generate" ? 404 : 400);
    expect(none).toBe(
      path === "/api/generate"
        ? "model '' not found"
        : { openai: "'model' is required", anthropic: "model: Field required", ollama: "model is required" }[dialect],
    );
    for (const name of ["nope", "/etc/passwd", "../demo", "demo:cloud", "x".repeat(600), "demo\u0000"]) {
      const text = await message(await h.post(path, { ...good, model: name }), dialect, 404);
      if (dialect === "anthropic") expect(text).toBe(`model: ${name}`);
      else expect(text).toStartWith(`model '${name}' not found`);
    }
    expect(await message(await h.post(path, { ...good, model: "demmo" }), dialect, 404)).toContain(
      dialect === "openai" ? "Did you mean 'demo'?" : "demmo",
    );
  });

  test("names: tag, case, :local and client prefixes are understood", async () => {
    await using h = await start();
    for (const name of ["DEMO", "demo:latest", "demo:local", "ollama/demo", "openai/demo", "demo[1m]", "registry.ollama.ai/library/demo"]) {
      const response = await h.post(path, { ...good, model: name });
      expect([name, response.status]).toEqual([name, 200]);
      await response.text();
    }
  });

  test("row 7: wrong method names what is allowed; extra slashes do not matter", async () => {
    await using h = await start();
    const response = await fetch(h.url + path, { method: "PUT" });
    expect(response.headers.get("allow")).toBe("POST");
    await message(response, dialect, 405);
    for (const odd of [`${path}/`, `/${path}`, path.replace("/v1/", "/v1//v1/"), path.replace("/v1/", "/")]) {
      const untidy = await h.post(odd, good);
      expect([odd, untidy.status]).toEqual([odd, 200]);
      await untidy.text();
    }
  });
});

test("wrong fields are named by their path", async () => {
  await using h = await start();
  const cases: [string, object, string, string][] = [
    ["/v1/chat/completions", { messages: "x" }, "messages", 'must be an array, not the string "x"'],
    ["/v1/chat/completions", { messages: [] }, "messages", "[] is too short - 'messages'"],
    ["/v1/chat/completions", { messages: [{ role: "boss", content: "x" }] }, "messages[0].role", "must be one of system"],
    ["/v1/chat/completions", { messages: [{ content: "x" }] }, "messages[0].role", "is required"],
    [
      "/v1/chat/completions",
      { messages: [{ role: "user", content: 5 }] },
      "messages[0].content",
      "must be a string or an array, not the number 5",
    ],
    ["/v1/chat/completions", { messages: [{ role: "user", content: [{ type: "text" }] }] }, "messages[0].content[0].text", "is required"],
    [
      "/v1/chat/completions",
      { messages: [{ role: "user", content: [{ type: "smell" }] }] },
      "messages[0].content[0].type",
      "is not a known content part",
    ],
    ["/v1/chat/completions", { messages: hi, temperature: 3 }, "temperature", "must be at most 2, not the number 3"],
    ["/v1/chat/completions", { messages: hi, temperature: "hot" }, "temperature", "must be a number"],
    ["/v1/chat/completions", { messages: hi, max_tokens: 0 }, "max_tokens", "must be at least 1"],
    ["/v1/chat/completions", { messages: hi, max_tokens: 1.5 }, "max_tokens", "must be an integer"],
    ["/v1/chat/completions", { messages: hi, n: 9 }, "n", "must be at most 8"],
    ["/v1/chat/completions", { messages: hi, top_logprobs: 2 }, "top_logprobs", "needs 'logprobs'"],
    ["/v1/chat/completions", { messages: hi, logprobs: true, top_logprobs: 21 }, "top_logprobs", "must be at most 20"],
    ["/v1/chat/completions", { messages: hi, stop: Array(17).fill("x") }, "stop", "must hold at most 16 items"],
    ["/v1/chat/completions", { messages: hi, logit_bias: { "1": 500 } }, "logit_bias[1]", "must be at most 100"],
    [
      "/v1/chat/completions",
      { messages: hi, tools: [{ type: "function", function: { name: "a b" } }] },
      "tools[0].function.name",
      "must be 1 to 128",
    ],
    ["/v1/chat/completions", { messages: hi, tools: [{ type: "function" }] }, "tools[0].function", "is required"],
    ["/v1/chat/completions", { messages: hi, tool_choice: "required" }, "tool_choice", "there are no tools"],
    [
      "/v1/chat/completions",
      { messages: hi, tool_choice: { type: "function", function: { name: "f" } } },
      "tool_choice",
      "not among the tools",
    ],
    [
      "/v1/chat/completions",
      { messages: hi, response_format: { type: "json_schema" } },
      "response_format.json_schema.schema",
      "is required",
    ],
    ["/v1/chat/completions", { messages: hi, modalities: ["audio"] }, "audio", "output is not offered"],
    ["/v1/chat/completions", { messages: hi, keep_alive: "10" }, "keep_alive", "is not a duration"],
    ["/v1/completions", {}, "prompt", "is required"],
    ["/v1/completions", { prompt: [] }, "prompt", "must not be empty"],
    ["/v1/completions", { prompt: ["a", 1] }, "prompt[1]", "must be a string, not the number 1"],
    ["/v1/completions", { prompt: true }, "prompt", "must be a string, an array of strings, an array of token ids"],
    ["/v1/completions", { prompt: "a", n: 3, best_of: 2 }, "best_of", "must be at least n"],
    ["/v1/completions", { prompt: "a", suffix: "b" }, "suffix", "does not support insert"],
    ["/v1/completions", { prompt: "a", echo: true, logprobs: 1 }, "logprobs", "not supported yet"],
    ["/v1/completions", { prompt: Array(100).fill("a"), n: 8 }, "prompt", "at most 128"],
  ];
  for (const [path, body, param, text] of cases) {
    const response = await h.post(path, { model: "demo", ...body });
    const { error } = (await response.json()) as { error: { message: string; param: string } };
    expect([response.status, error.param, error.message]).toEqual([400, param, expect.stringContaining(text)]);
  }
  expect(h.engine.requests).toEqual([]);
});

test("row 6: an unknown model on the other routes", async () => {
  await using h = await start();
  const model = "nope";
  for (const [path, dialect, body, text] of [
    ["/v1/embeddings", "openai", { model, input: "x" }, "model 'nope' not found"],
    ["/v1/responses/input_tokens", "openai", { model, input: "x" }, "model 'nope' not found"],
    ["/v1/chat/completions/input_tokens", "openai", { model, messages: hi }, "model 'nope' not found"],
    ["/tokenize", "openai", { model, content: "x" }, "model 'nope' not found"],
    ["/detokenize", "openai", { model, tokens: [1] }, "model 'nope' not found"],
    ["/apply-template", "openai", { model, messages: hi }, "model 'nope' not found"],
    ["/completion", "openai", { model, prompt: "x" }, "model 'nope' not found"],
    ["/v1/rerank", "openai", { model, query: "x", documents: ["y"] }, "model 'nope' not found"],
    ["/api/embed", "ollama", { model, input: "x" }, 'model "nope" not found, try pulling it first'],
    ["/api/embeddings", "ollama", { model, prompt: "x" }, 'model "nope" not found, try pulling it first'],
  ] as const) {
    expect([path, await message(await h.post(path, body), dialect, 404)]).toEqual([path, expect.stringContaining(text)]);
  }
  await message(await fetch(`${h.url}/v1/models/nope`), "openai", 404);
});

test("row 7: unknown paths answer in the shape of their dialect", async () => {
  await using h = await start();
  expect(await message(await fetch(`${h.url}/v1/images/generations`), "openai", 404)).toContain("/v1/images/generations");
  expect(await message(await fetch(`${h.url}/v1/messages/batches`), "anthropic", 404)).toContain("/v1/messages/batches");
  for (const path of ["/v1/complete", "/v1/skills", "/v1/skills/x"]) {
    expect(await message(await h.post(path, {}), "anthropic", 404)).toContain(path);
  }
  // Both SDKs have files: the header tells whose client it is.
  expect(await message(await fetch(`${h.url}/v1/files`), "openai", 404)).toContain("/v1/files");
  await message(await fetch(`${h.url}/v1/files`, { headers: { "anthropic-version": "2023-06-01" } }), "anthropic", 404);
  expect(await message(await fetch(`${h.url}/api/nope`), "ollama", 404)).toBe("404 page not found");
  expect(await message(await fetch(`${h.url}/index.php`), "ollama", 404)).toBe("404 page not found");
});

test("what is in the contract but not built says so with 501, and asks not to retry", async () => {
  await using h = await start();
  for (const [path, dialect] of [
    ["/v1/chat/completions/control", "openai"],
    ["/api/experimental/web_search", "ollama"],
  ] as const) {
    const response = await h.post(path, {});
    expect(response.headers.get("x-should-retry")).toBe("false");
    expect(await message(response, dialect, 501)).toMatch(/^POST \S+ is not supported/);
  }
});

test("an error of /v1/models takes the shape of the SDK that asks", async () => {
  await using h = await start();
  await message(await fetch(`${h.url}/v1/models/nope`), "openai", 404);
  await message(await fetch(`${h.url}/v1/models/nope`, { headers: { "anthropic-version": "2023-06-01" } }), "anthropic", 404);
});

test("engine failures before the first event keep their status, and bugs do not leak", async () => {
  const failures: [AlloyError | Error, number, string][] = [
    [
      new AlloyError("out_of_memory", "the model needs 9 GiB, 2 are free", { hint: "Use a smaller model." }),
      500,
      "the model needs 9 GiB, 2 are free. Use a smaller model.",
    ],
    [new AlloyError("model_loading", "still loading"), 503, "still loading"],
    [new AlloyError("template_error", "the template failed: no"), 400, "the template failed: no"],
    [new AlloyError("timeout", "too slow"), 504, "too slow"],
    [new TypeError("secret of /home/someone"), 500, "internal error (request req_"],
  ];
  for (const [thrown, status, text] of failures) {
    const logged: AccessEntry[] = [];
    await using h = await start({}, { log: { log() {}, access: (entry) => logged.push(entry) } });
    // oxlint-disable-next-line require-yield -- it fails before its first event
    h.engine.generate = async function* () {
      throw thrown;
    };
    for (const [path, dialect, good] of ENDPOINTS.filter(([p]) => !/count_tokens|show/.test(p))) {
      const got = await message(await h.post(path, { ...good, stream: true }), dialect, status);
      expect(got).toStartWith(text);
      expect(logged.at(-1)).toMatchObject({ path, status, error: { message: thrown.message } });
    }
  }
});

test("row 17: a full queue: 503 with Retry-After, 529 for Anthropic; waiting requests are served later", async () => {
  await using h = await start({ slots: 1, queueLimit: 2, delayMs: 10, script: () => [{ type: "text", text: "w ".repeat(30) }] });
  const run = () => h.post("/v1/chat/completions", { model: "demo", messages: hi });
  const served = [run(), run(), run()];
  await until(() => h.engine.running === 1 && h.engine.queued === 2, "one runs, two wait");
  const refused = await run();
  expect(refused.headers.get("retry-after")).toBe("1");
  expect(await refused.json()).toMatchObject({ error: { type: "server_error", code: "server_is_overloaded" } });
  expect(refused.status).toBe(503);
  const ollama = await h.post("/api/chat", { model: "demo", messages: hi });
  expect(await message(ollama, "ollama", 503)).toBe("server busy, please try again.  maximum pending requests exceeded");
  await message(await h.post("/v1/messages", { model: "demo", messages: hi, max_tokens: 5 }), "anthropic", 529);
  expect((await Promise.all(served)).map((r) => r.status)).toEqual([200, 200, 200]);
});

test("n choices: when one is refused the others are cancelled", async () => {
  await using h = await start({ slots: 2, queueLimit: 0, delayMs: 10 });
  expect((await h.post("/v1/chat/completions", { model: "demo", messages: hi, n: 3 })).status).toBe(503);
  await until(() => h.engine.running === 0, "nothing runs on");
});

describe("bodies", () => {
  const body = JSON.stringify({ model: "demo", messages: hi });
  const send = (h: Harness, data: BodyInit, encoding: string) =>
    fetch(`${h.url}/v1/chat/completions`, { method: "POST", body: data, headers: { "content-encoding": encoding } });

  test("row 4: gzip, deflate, br and zstd are decoded", async () => {
    await using h = await start();
    const encoded: [string, Uint8Array][] = [
      ["gzip", zlib.gzipSync(body)],
      ["deflate", zlib.deflateSync(body)],
      ["br", zlib.brotliCompressSync(body)],
      ["zstd", zlib.zstdCompressSync(body)],
      ["identity", Buffer.from(body)],
    ];
    for (const [encoding, data] of encoded) expect([encoding, (await send(h, data as BodyInit, encoding)).status]).toEqual([encoding, 200]);
    // As Codex sends them.
    const response = JSON.stringify({ model: "demo", input: "hi" });
    for (const [encoding, data] of [
      ["zstd", zlib.zstdCompressSync(response)],
      ["gzip", zlib.gzipSync(response)],
    ] as const) {
      const sent = { method: "POST", body: data as BodyInit, headers: { "content-encoding": encoding } };
      expect([encoding, (await fetch(`${h.url}/v1/responses`, sent)).status]).toEqual([encoding, 200]);
    }
    expect(await message(await send(h, body, "gzip"), "openai", 400)).toContain("not valid gzip data");
    expect(await message(await send(h, body, "rot13"), "openai", 400)).toContain("'rot13' is not known");
  });

  test("over the limit: 413 in each dialect, also when it only unpacks to that", async () => {
    await using h = await start({}, { env: { ALLOY_MAX_BODY: "10000" } });
    const large = JSON.stringify({ model: "demo", messages: [{ role: "user", content: "x".repeat(20_000) }], max_tokens: 5 });
    for (const [path, dialect] of ENDPOINTS) await message(await h.post(path, large), dialect, 413);
    expect(await message(await send(h, zlib.gzipSync(large) as BodyInit, "gzip"), "openai", 413)).toContain("larger than 10000 bytes");
    const chunked = new ReadableStream({
      async pull(controller) {
        await Bun.sleep(1);
        controller.enqueue(new Uint8Array(4096));
      },
    });
    expect((await fetch(`${h.url}/v1/messages`, { method: "POST", body: chunked })).status).toBe(413);
    expect(h.engine.requests).toEqual([]);
  });

  test("row 14: 70 MiB meets the default limit", async () => {
    await using h = await start();
    expect((await h.post("/v1/messages", "x".repeat(70 * 2 ** 20))).status).toBe(413);
  });

  test("a bad ALLOY_MAX_BODY is refused at start", async () => {
    expect((await failure(start({}, { env: { ALLOY_MAX_BODY: "lots" } }))).message).toContain("ALLOY_MAX_BODY is 'lots'");
  });

  test("hostile nesting is an error, not a crash", async () => {
    await using h = await start();
    expect((await h.post("/v1/chat/completions", "[".repeat(1_000_000))).status).toBe(400);
    const deep = (levels: number) => `${'{"a":'.repeat(levels)}1${"}".repeat(levels)}`;
    const body = (levels: number) =>
      `{"model":"demo","messages":[{"role":"user","content":"[[[["}],"chat_template_kwargs":${deep(levels)}}`;
    expect((await h.post("/v1/chat/completions", body(500))).status).toBe(200);
    const refused = await h.post("/v1/chat/completions", body(100_000));
    expect(await message(refused, "openai", 400)).toContain("nested more than 512 levels deep");
  });
});

test("files in a message: text is read, anything else is refused", async () => {
  await using h = await start();
  const ask = (file_data: string) => {
    const content = [{ type: "file", file: { filename: "a", file_data } }];
    return h.post("/v1/chat/completions", { model: "demo", messages: [{ role: "user", content }] });
  };
  const base64 = (text: string) => Buffer.from(text).toString("base64");
  expect((await ask(`data:text/plain;base64,${base64("Grüße")}`)).status).toBe(200);
  expect(h.engine.requests[0].prompt).toMatchObject({ messages: [{ content: "Grüße" }] });
  for (const data of [`data:application/pdf;base64,${base64("%PDF-1.7 text")}`, base64("a\0b"), "/w==", "not base64!"]) {
    expect(await message(await ask(data), "openai", 400)).toContain("is a file that is not text");
  }
});

test("a text-only model: images are refused in the present turn, omitted from the past", async () => {
  await using h = await start({ models: [scriptedModel("demo")] });
  const image = { type: "image", source: { type: "base64", media_type: "image/png", data: "AA" } };
  const present = [{ role: "user", content: [image] }];
  const text = await message(await h.post("/v1/messages", { model: "demo", max_tokens: 5, messages: present }), "anthropic", 400);
  expect(text).toStartWith("messages.0.content.0: is an image, which the model 'demo' cannot take");
  const past = [
    ...present,
    { role: "assistant", content: "nice" },
    { role: "user", content: [{ type: "tool_result", tool_use_id: "t", content: [image] }] },
  ];
  expect((await h.post("/v1/messages", { model: "demo", max_tokens: 5, messages: past })).status).toBe(200);
  const ollama = await h.post("/api/chat", { model: "demo", messages: [{ role: "user", content: "x", images: ["AA"] }] });
  expect(await message(ollama, "ollama", 400)).toContain("is an image");
});
