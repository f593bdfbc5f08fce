/**
 * The acceptance matrix: what clients must be able to do. A test of a row begins its name with `row N: `; docs/acceptance.md is made of both:
 * bun test/acceptance/rows.ts > docs/acceptance.md
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { read, repositoryFiles, ROOT } from "../repo/files.ts";

export interface Row {
  /** What speaks to the server. */
  through: string;
  check: string;
  /** Where a test differs from the check, and why. */
  note?: string;
  /** Folder or file of tests that are named in their own way. */
  elsewhere?: string;
}

const curl = "HTTP";
const openai = "openai";
const anthropic = "@anthropic-ai/sdk";
const ollama = "ollama";
const tools = { elsewhere: "test/tools" };
const row = (through: string, check: string, more: Partial<Row> = {}): Row => ({ through, check, ...more });

export const ROWS: Readonly<Record<number, Row>> = {
  1: row(curl, "`GET /` is `Ollama is running`, `HEAD /` has no body"),
  2: row(curl, "`/api/version` is a version that clients accept (0.13.4 or later)"),
  3: row(curl, "JSON is read whatever the content type says"),
  4: row(curl, "bodies in gzip, deflate, br and zstd"),
  5: row(curl, "empty body, broken JSON, wrong types, no model: 400 in each dialect's envelope"),
  6: row(curl, "an unknown model is a 404 in each dialect's envelope, on all routes"),
  7: row(curl, "unknown paths and wrong methods are JSON errors in each dialect"),
  8: row(curl, "a foreign `Host` is refused before the engine hears of it"),
  9: row(curl, "so is one with an `Origin` to match (DNS rebinding)"),
  10: row(curl, "a foreign `Origin` is refused, and nothing runs"),
  11: row(curl, "local pages, editors and listed origins pass"),
  12: row(curl, "preflight allows the headers of all three SDKs"),
  13: row(curl, "a WebSocket upgrade gets 426"),
  14: row(curl, "bodies over 64 MiB get 413; blobs are stored with flat memory", {
    note: "300 MiB of blob; `bench/serve-upload.ts` sends 3 GiB",
  }),
  15: row(curl, "a long prefill: headers at once, heartbeats in each dialect's form", { note: "prefill and heartbeats shortened" }),
  16: row(curl, "clients that leave, 100 times, in mid-stream and in prefill: nothing runs on, all are counted"),
  17: row(curl, "a full queue: 503 or 529 with `Retry-After`, at once"),
  18: row(curl, "characters that take several tokens come whole"),
  19: row(openai, "`chat.completions.create`: text, usage, unique ids"),
  20: row(openai, "`.stream().finalChatCompletion()`; the second run comes from the cache"),
  21: row("openai 7 and 6", "a strict tool of the zod helper, streamed"),
  22: row(openai, "three calls at once keep their indexes and ids"),
  23: row(openai, "`tool_choice` none, required, a name, allowed tools"),
  24: row(openai, "`parallel_tool_calls: false` is one call"),
  25: row(openai, "tool round trip, and history with `content: null` and arguments that are no JSON"),
  26: row(openai, "`json_object` is an object"),
  27: row(openai, "a strict schema with nesting, enum, `$ref`, anyOf and array bounds holds in 50 runs"),
  28: row(openai, "a strict schema that cannot be held is `invalid_json_schema`"),
  29: row(openai, "`n: 3`, streamed and not"),
  30: row(openai, "log-probabilities with alternatives"),
  31: row(openai, "a stop string over several tokens is not sent"),
  32: row(openai, "a seed gives the same text again"),
  33: row(openai, "`include_usage`: one last chunk, or no usage at all"),
  34: row(openai, "`max_tokens: 5`: `length`, five tokens"),
  35: row(openai, "`reasoning_effort` none and high"),
  36: row(openai, "`reasoning_effort` on a model that cannot think"),
  37: row(openai, "images: described, or refused where the model cannot see", {
    note: "no model that sees is supported yet: the refusals are tested",
  }),
  38: row(openai, "audio in a message", { note: "no model that hears is supported yet: the refusal is tested" }),
  39: row(openai, "a prompt over the window: code and both numbers"),
  40: row(openai, "`completions.create`: texts, ids, `echo`, `suffix`"),
  41: row(openai, "embeddings", { note: "no embedding model is supported yet: validation, 400 and 501 are tested" }),
  42: row(openai, "`models.list` and `retrieve`, names with `/` and `:`"),
  43: row(openai, "responses with reasoning, text and a call: three items, events in order"),
  44: row(openai, "responses: function, custom, namespace and search tools"),
  45: row(openai, "`previous_response_id`, with and without `store: false`"),
  46: row(openai, "responses at the token limit are `incomplete`"),
  47: row(openai, "transcriptions", { note: "no transcription model is supported yet: validation and the 400 are tested" }),
  48: row(openai, "a fault of the engine in mid-stream, chat and responses"),
  49: row(anthropic, "`messages.create` and `.stream().finalMessage()`"),
  50: row(anthropic, "order of events for thinking, text and two tools"),
  51: row(anthropic, "`stop_sequences`"),
  52: row(anthropic, "`tool_choice` any, tool, none; one call at a time"),
  53: row(anthropic, "`countTokens` is what 20 mixed messages report"),
  54: row(anthropic, "24 counts at once while all slots generate", { note: "no time is asserted" }),
  55: row(anthropic, "system as text, blocks and in the middle; turn 2 begins with the tokens of turn 1"),
  56: row(anthropic, "the billing block does not spoil the cached prefix"),
  57: row(anthropic, "thinking absent, disabled, adaptive, on a budget"),
  58: row(anthropic, "`output_config.format`"),
  59: row(anthropic, "a prompt over the window: the exact text"),
  60: row(anthropic, "`max_tokens: 128000` on a window of 32k"),
  61: row(anthropic, "deferred tools: absent, then found, on the same cached prefix"),
  62: row(anthropic, "an image in a tool result, unknown blocks, server tools"),
  63: row(anthropic, "`models.list`"),
  64: row("Claude Code", "runs a tool, sends its result, ends well", tools),
  65: row("Claude Code", "sends thinking back", tools),
  66: row("Claude Code", "without a model's name it gets the default model", tools),
  67: row("Claude Code", "an unknown model is said to be the trouble", tools),
  68: row("Claude Code", "compacts a conversation that fills the window", tools),
  69: row("Claude Code", "finds a deferred tool and calls it", {
    ...tools,
    note: "NotebookEdit in place of WebFetch, which wants the internet",
  }),
  70: row("Claude Code", "subagents finish with a single slot", tools),
  71: row("Claude Code", "`/context`, an image, a web search", tools),
  72: row("Claude Code", "an edit of a small repository; every turn extends the prompt before it", { note: "with a scripted model" }),
  73: row("Codex", "`codex exec --oss`, model missing and present", tools),
  74: row("Codex", "a custom provider: a command, then the answer", tools),
  75: row("Codex", "namespaces, patches, tool search", tools),
  76: row("Codex", "overflow, a busy server, a fault", tools),
  77: row("Codex", "the built-in provider falls back to HTTP", tools),
  78: row("opencode", "runs a tool, sends reasoning back", tools),
  79: row("opencode", "compacts on overflow", tools),
  80: row("opencode", "the Anthropic provider", tools),
  81: row("AI SDK", "text, streams, tools and objects with three providers", tools),
  82: row("AI SDK", "an error in mid-stream", tools),
  83: row(ollama, "generate and chat, streamed and not; `abort()` frees the slot"),
  84: row(ollama, "tools, thinking, a schema, images, log-probabilities", {
    note: "images are refused: no model that sees is supported yet",
  }),
  85: row(ollama, "list, show, ps, copy, delete, version"),
  86: row(ollama, "pull: streamed and not, unknown, offline"),
  87: row(ollama, "create with system and parameters, show, delete"),
  88: row(ollama, "push is refused with 501"),
  89: row(ollama, "embed and embeddings", { note: "no embedding model is supported yet: validation, 400 and 501 are tested" }),
  90: row(curl, "all forms of `keep_alive`"),
  91: row(curl, "an empty prompt loads and unloads"),
  92: row(curl, "`raw`, `suffix`, `context`, `_debug_render_only`"),
  93: row("ollama CLI", "run, list, ps, stop, show, cp, rm, create -f", { note: "the requests that it sends, without the program" }),
  94: row("litellm", "three values of `num_ctx` do not load the model again", { note: "the requests that it sends, without the program" }),
  95: row("aider", "edit blocks, continuation after `length`, overflow", { note: "the requests that it sends, without the program" }),
  96: row(curl, "llama-server's routes; tokenize and back", { note: "reranking is 501: no model that ranks is supported yet" }),
  97: row("promtool", "`/metrics`, idle and loaded", { elsewhere: "test/server/metrics.test.ts" }),
  98: row("router parser", "queue, cache and block size of two models in one page", { elsewhere: "test/server/metrics.test.ts" }),
  99: row("script", "64 parallel streams in all dialects", { note: "short here; `bench/serve-load.ts` runs as long as asked" }),
  100: row("all three SDKs", "one prompt at temperature 0: one text, one count"),
};

/** Files with tests of each row. */
export function testsOfRows(): Map<number, Set<string>> {
  const found = new Map<number, Set<string>>();
  for (const file of repositoryFiles(".test.ts")) {
    for (const [, number] of read(file).matchAll(/(?:^\s*|\()["`]row (\d+): /gm)) {
      const files = found.get(Number(number)) ?? new Set();
      found.set(Number(number), files.add(file));
    }
  }
  return found;
}

const INTRODUCTION = `# Acceptance

What clients must be able to do with the server, row by row, and which tests show it. Made by \`bun test/acceptance/rows.ts > docs/acceptance.md\`; a test
compares it with the names of the tests.

\`\`\`sh no-run
bun test test/acceptance --timeout 120000
bun test test/acceptance -t "row 12:"
\`\`\`

Clients are the official packages, as released. A scripted model stands behind the server where a row is about the wire, the demo model where it is about what a
model writes. Tests that run a program (Claude Code, Codex, opencode) say that they are skipped where it is not installed.
`;

export function page(): string {
  const tests = testsOfRows();
  const place = (number: number, { elsewhere }: Row): string => {
    const files = [...(tests.get(number) ?? [])];
    if (files.length === 0 && elsewhere && existsSync(join(ROOT, elsewhere))) files.push(elsewhere);
    return files.map((f) => `[${f.replace(/^test\/(acceptance\/)?/, "").replace(/\.test\.ts$/, "")}](../${f})`).join(", ") || "not yet";
  };
  const lines = Object.entries(ROWS).map(
    ([number, r]) => `| ${number} | ${r.through} | ${r.check} | ${place(Number(number), r)} | ${r.note ?? ""} |`,
  );
  return `${INTRODUCTION}\n| row | through | check | tests | |\n| --- | --- | --- | --- | --- |\n${lines.join("\n")}\n`;
}

if (import.meta.main) process.stdout.write(page());
