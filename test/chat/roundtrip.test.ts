/**
 * Published templates (beside the repository, not part of it): an assistant turn with tool calls is rendered, cut out, and
 * read back by the format that was chosen for the template.
 */
import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import type { ChatFormat, ChatMessage, Thinking, ToolSpec } from "../../src/chat/api.ts";
import { loadChatFormat } from "../../src/chat/load.ts";
import { feed, pieces, random, seed, tokenizerWith, type Turn } from "./helpers.ts";

const TEMPLATES = join(import.meta.dir, "../../../shared/templates");

const tools: ToolSpec[] = [
  {
    name: "write_report",
    description: "Writes a report.",
    parameters: {
      type: "object",
      properties: {
        title: { type: "string", description: "What it says above." },
        body: { type: "string", description: "The text." },
        count: { type: "integer", description: "How many." },
        ratio: { type: "number", description: "Which part." },
        flag: { type: "boolean", description: "Whether." },
        tags: { type: "array", items: { type: "string" }, description: "Words." },
        matrix: { type: "array", items: { type: "array", items: { type: "integer" } }, description: "Numbers." },
        options: {
          type: "object",
          description: "More.",
          properties: {
            deep: { type: "object", properties: { list: { type: "array", items: { type: "integer" } }, name: { type: "string" } } },
            on: { type: "boolean" },
          },
        },
        none: { type: ["integer", "null"], description: "A number, if any." },
      },
      required: ["title"],
    },
  },
  { name: "no-args.tool", description: "Needs nothing.", parameters: { type: "object", properties: {} } },
];

type Arguments = Record<string, unknown>;
const NASTY: Arguments = {
  title: 'Zürich – 東京 🎉 “quotes” "double" it\'s & <b> {x} [y], z: 1',
  body: "line 1\nline 2\n\n\tindented\n  - item: yes\n</b> <c>d</c>",
  count: -3,
  ratio: 0.25,
  flag: true,
  tags: ["a", "b c", "True", "12"],
  matrix: [[1, 2], [3]],
  options: { deep: { list: [1, 2, 3], name: "ü ' \" x" }, on: false },
  none: null,
};

interface Row {
  format: string;
  /** What ends the assistant's turn. */
  end: string;
  /** What begins it, where the prompt for a new answer is another one. */
  begin?: string;
  /** End tokens that the template writes inside of the turn; no model's text has them. */
  inside?: string;
  /** Without tool support of its own the tools are told by instruction. */
  listsTools?: false;
  /** Several calls in one message. */
  parallel?: false;
  /** Where the template shows text of a message with calls, if it does. */
  text?: "dropped" | "elsewhere";
  /** The template shows the reasoning of the current turn. */
  reasoning?: true;
  /**
   * "switch": the template turns thinking on and off. "levels": low and high differ. "opened": the prompt always opens
   * reasoning. "own": the model decides. Undefined: it does not think.
   */
  thinking?: "switch" | "levels" | "opened" | "own";
  /** What strings at the top of the arguments cannot hold. */
  without?: RegExp;
  /** Values that the template cannot write. */
  lossy?: "null"[];
}

const IM_END = "<|im_end|>";
const ROWS: Record<string, Row> = {
  "Apriel-1.6-15b-Thinker-fixed.jinja": { format: "apriel", end: "\n<|end|>", thinking: "opened" },
  "ByteDance-Seed-OSS.jinja": { format: "seed", end: "<seed:eos>", reasoning: true, thinking: "levels" },
  "CohereForAI-c4ai-command-r-plus-tool_use.jinja": { format: "command-r", begin: "CHATBOT_TOKEN|>", end: "<|START_OF_TURN_TOKEN|>" },
  "GLM-4.6.jinja": { format: "glm", end: "<|observation|>", reasoning: true, thinking: "switch" },
  "GigaChat3-10B-A1.8B.jinja": { format: "gigachat", end: "function result<|role_sep|>", parallel: false },
  "HuggingFaceTB-SmolLM3-3B.jinja": { format: "hermes", end: IM_END, listsTools: false, thinking: "switch" },
  "Kimi-K2-Thinking.jinja": { format: "kimi", end: IM_END, reasoning: true, thinking: "own" },
  "LFM2.5-8B-A1B.jinja": { format: "lfm2", end: IM_END, reasoning: true, without: /\\/, thinking: "own" },
  "LFM2.5-Instruct.jinja": { format: "lfm2", end: IM_END, thinking: "own" },
  "MiMo-VL.jinja": { format: "hermes", end: IM_END },
  "MiniMax-M3.jinja": { format: "minimax-m3", end: "[e~[", reasoning: true, lossy: ["null"], thinking: "switch" },
  "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16.jinja": { format: "qwen-xml", end: IM_END, reasoning: true, thinking: "switch" },
  "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use.jinja": { format: "hermes", end: IM_END, text: "dropped" },
  "Qwen-QwQ-32B.jinja": { format: "hermes", end: IM_END, thinking: "switch" },
  "Qwen-Qwen3-0.6B.jinja": { format: "hermes", end: IM_END, reasoning: true, thinking: "switch" },
  "Qwen3.5-4B.jinja": { format: "qwen-xml", end: IM_END, reasoning: true, thinking: "switch" },
  "Reka-Edge.jinja": { format: "reka", end: "<sep>", thinking: "switch" },
  "deepseek-ai-DeepSeek-R1-Distill-Llama-8B.jinja": {
    format: "deepseek-v3",
    end: "<｜tool▁outputs▁begin｜>",
    inside: "<｜end▁of▁sentence｜>",
    listsTools: false,
    text: "elsewhere",
    thinking: "opened",
  },
  "deepseek-ai-DeepSeek-V3.1.jinja": { format: "deepseek-v3.1", end: "<｜end▁of▁sentence｜>", listsTools: false, thinking: "switch" },
  "deepseek-ai-DeepSeek-V4-Flash-0731.jinja": {
    format: "deepseek-dsml",
    end: "<｜end▁of▁sentence｜>",
    reasoning: true,
    thinking: "levels",
  },
  "fireworks-ai-llama-3-firefunction-v2.jinja": { format: "firefunction", end: "<|eot_id|>" },
  "google-gemma-4-31B-it-interleaved.jinja": {
    format: "gemma",
    end: "<|tool_response>",
    reasoning: true,
    text: "elsewhere",
    thinking: "switch",
  },
  "google-gemma-4-31B-it.jinja": { format: "gemma", end: "<|tool_response>", reasoning: true, text: "elsewhere", thinking: "switch" },
  "ibm-granite-granite-3.3-2B-Instruct.jinja": { format: "granite", end: "<|end_of_text|>", thinking: "switch" },
  "ibm-granite-granite-4.1.jinja": { format: "hermes", end: "<|end_of_text|>" },
  "llama-cpp-rwkv-world.jinja": { format: "hermes", end: "\n\nUser:", listsTools: false, thinking: "switch" },
  "meetkai-functionary-medium-v3.2.jinja": { format: "functionary", end: "<|eot_id|>" },
  "meta-llama-Llama-3.2-3B-Instruct.jinja": { format: "llama3", end: "<|eot_id|>", parallel: false, text: "dropped" },
  "microsoft-Phi-3.5-mini-instruct.jinja": { format: "hermes", end: "<|end|>", listsTools: false },
  "mistralai-Mistral-Nemo-Instruct-2407.jinja": { format: "mistral", end: "</s>", text: "dropped" },
  "openai-gpt-oss-120b.jinja": {
    format: "harmony",
    end: "<|call|>",
    parallel: false,
    text: "dropped",
    reasoning: true,
    thinking: "levels",
  },
  "poolside-Laguna-S-2.1.jinja": { format: "laguna", end: "</assistant>", reasoning: true, thinking: "switch" },
  "poolside-Laguna-XS.2.jinja": { format: "laguna", end: "</assistant>", reasoning: true, thinking: "switch" },
  "unsloth-Apriel-1.5.jinja": { format: "apriel", end: "\n<|end|>", thinking: "own" },
  "upstage-Solar-Open-100B.jinja": { format: "solar", end: "<|calls|>", text: "dropped", reasoning: true, thinking: "levels" },
};

const user: ChatMessage = { role: "user", content: "THE-QUESTION" };
const text = "Let me look.";
const reasoning = "First this,\nthen that.";

const loaded = new Map<string, ChatFormat>();
function load(file: string): ChatFormat {
  const format = loaded.get(file) ?? loadChatFormat({ template: readFileSync(join(TEMPLATES, file), "utf8"), tokenizer: tokenizerWith() });
  loaded.set(file, format);
  return format;
}

/** The assistant's turn as the template writes it, and how the output began. */
function assistantPart(file: string, row: Row, calls: { name: string; arguments: Arguments }[]) {
  const format = load(file);
  const toolCalls = calls.map((c, i) => ({ id: `call_${i}`, name: c.name, arguments: JSON.stringify(c.arguments) }));
  const turn: ChatMessage = {
    role: "assistant",
    content: row.text ? "" : text,
    ...(row.reasoning ? { reasoning } : {}),
    toolCalls,
  };
  const results = toolCalls.map((c): ChatMessage => ({ role: "tool", content: "RESULT", toolCallId: c.id, name: c.name }));
  const options = { tools, thinking: row.reasoning ? ("on" as const) : undefined };
  const prompt = format.render([user], options);
  const whole = format.render([user, turn, ...results], options).text;
  let at = 0;
  while (at < prompt.text.length && prompt.text[at] === whole[at]) at++;
  // Two different markers begin alike.
  if (whole[at - 1] === "<") at--;
  if (row.begin) at = whole.indexOf(row.begin, at) + row.begin.length;
  const end = whole.indexOf(row.end, at);
  if (end < 0) throw new Error(`${row.end} is not in ${whole.slice(at)}`);
  // White space at the prompt's end may differ, an opened think block must not.
  const began = at >= prompt.text.trimEnd().length;
  const part = whole.slice(at, end);
  return { format, part: row.inside ? part.replaceAll(row.inside, "") : part, startsInReasoning: prompt.startsInReasoning && began };
}

const read = (turn: Turn) => turn.calls.map((c) => ({ name: c.name, arguments: JSON.parse(c.arguments), ended: c.ended }));

function check(file: string, row: Row, calls: { name: string; arguments: Arguments }[], next: () => number): void {
  const { format, part, startsInReasoning } = assistantPart(file, row, calls);
  const parser = () => format.parser({ tools, startsInReasoning });
  const whole = feed(parser(), [part]);
  expect({ part, calls: read(whole) }).toEqual({ part, calls: calls.map((c) => ({ ...c, ended: true })) });
  expect({ part, text: whole.text.trim(), reasoning: whole.reasoning.trim() }).toEqual({
    part,
    text: row.text ? "" : text,
    reasoning: row.reasoning ? reasoning : "",
  });
  const cuts = [[...part], ...Array.from({ length: 4 }, () => pieces(part, next, 12))];
  for (const cut of cuts) expect({ cut, turn: { ...feed(parser(), cut), order: [] } }).toEqual({ cut, turn: { ...whole, order: [] } });
}

const lossless = (args: Arguments, row: Row): Arguments =>
  Object.fromEntries(Object.entries(args).filter(([, v]) => !(v === null && row.lossy?.includes("null"))));

/** Arguments after the schema, of texts that the template can carry. */
function argumentsFor(row: Row): fc.Arbitrary<Arguments> {
  const word = fc.string({ unit: "grapheme", maxLength: 12 });
  const string = fc
    .oneof(
      word,
      fc.stringMatching(/^[ -~\n]{0,24}$/),
      fc.constantFrom(
        "",
        " ",
        "\n",
        "null",
        "True",
        "12",
        "[1]",
        "{}",
        "</parameter> <x>",
        "</parameter>\n</function></a>",
        "f(x='a', y=\"b\")",
        "a\n",
      ),
    )
    .filter((s) => !row.without?.test(s));
  const integer = fc.integer({ min: -1e6, max: 1e6 });
  return fc.record(
    {
      title: string,
      body: string,
      count: integer,
      ratio: fc.double({ min: -1e6, max: 1e6, noNaN: true }).map((x) => Number(x.toFixed(3)) || 0.5),
      flag: fc.boolean(),
      tags: fc.array(word, { maxLength: 3 }),
      matrix: fc.array(fc.array(integer, { maxLength: 2 }), { maxLength: 2 }),
      options: fc.record(
        { deep: fc.record({ list: fc.array(integer, { maxLength: 2 }), name: word }), on: fc.boolean() },
        { requiredKeys: [] },
      ),
      none: row.lossy?.includes("null") ? integer : fc.option(integer),
    },
    { requiredKeys: [] },
  );
}

describe.skipIf(!existsSync(TEMPLATES))("published templates (skipped without ../shared/templates)", () => {
  const start = seed("template round trips");
  const next = random(start);
  const files = existsSync(TEMPLATES) ? readdirSync(TEMPLATES) : [];

  test("each has its row", () => {
    expect(Object.keys(ROWS)).toEqual(files.toSorted());
  });

  for (const file of files) {
    const row = ROWS[file];
    if (!row) continue;
    describe(file, () => {
      test("format and capabilities", () => {
        const format = load(file);
        expect(format.toolFormat).toBe(row.format);
        expect(format.capabilities.tools).toBe(row.listsTools ?? true);
      });

      test("reasoning is switched and split", () => {
        const format = load(file);
        const prompt = (thinking: Thinking | undefined) => format.render([user], { thinking });
        expect(format.capabilities.thinking).toBe(row.thinking !== undefined);
        if (row.thinking === "switch" || row.thinking === "opened") expect(prompt("off").text).not.toBe(prompt("on").text);
        if (row.thinking === "levels") expect(prompt("low").text).not.toBe(prompt("high").text);
        expect(prompt("off").startsInReasoning).toBe(false);
        if (row.thinking === "opened") expect(prompt(undefined).startsInReasoning).toBe(true);
        if (!format.reasoning) return;
        const { startsInReasoning } = prompt("on");
        const output = `${startsInReasoning ? "" : format.reasoning.open}\n${reasoning}\n${format.reasoning.close}Done.`;
        for (const cut of [[output], [...output]]) {
          const turn = feed(format.parser({ tools: [], startsInReasoning }), cut);
          expect({ text: turn.text, reasoning: turn.reasoning.trim() }).toEqual({ text: "Done.", reasoning });
        }
      });

      test("calls come back", () => {
        const nasty = { name: "write_report", arguments: lossless(NASTY, row) };
        check(file, row, [nasty], next);
        check(file, row, [{ name: "no-args.tool", arguments: {} }], next);
        if (row.parallel === false) return;
        check(file, row, [nasty, { name: "no-args.tool", arguments: {} }, { name: "write_report", arguments: { title: "x" } }], next);
      });

      test("any arguments come back", () => {
        fc.assert(
          fc.property(argumentsFor(row), (args) => check(file, row, [{ name: "write_report", arguments: args }], next)),
          { seed: start, numRuns: Number(process.env.ALLOY_TEST_RUNS ?? 10) },
        );
      });
    });
  }
});
