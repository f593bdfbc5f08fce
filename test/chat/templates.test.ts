/** Real templates: the golden ones with expected text, and those beside the repository. */
import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { ChatMessage, ToolSpec } from "../../src/chat/api.ts";
import { loadChatFormat } from "../../src/chat/load.ts";
import { openModel } from "../../src/formats/open.ts";
import { AlloyError } from "../../src/support/errors.ts";
import { loadTokenizer } from "../../src/tokenizer/load.ts";
import { tokenizerWith } from "./helpers.ts";

const GOLDEN = join(import.meta.dir, "../fixtures/golden/tokenizers");
const TEMPLATES = join(import.meta.dir, "../../../shared/templates");
const json = (path: string) => JSON.parse(readFileSync(path, "utf8"));

const tools: ToolSpec[] = [
  {
    name: "get_weather",
    description: "Tells the weather of a city.",
    parameters: { type: "object", properties: { city: { type: "string", description: "The city." } }, required: ["city"] },
  },
];
const toolTurn: ChatMessage[] = [
  { role: "user", content: "WEATHER-QUESTION" },
  { role: "assistant", content: "", toolCalls: [{ id: "call_abc", name: "get_weather", arguments: '{"city": "PARIS-ARGUMENT"}' }] },
  { role: "tool", content: "SUNNY-RESULT", toolCallId: "call_abc", name: "get_weather" },
];

test("golden chats render as transformers renders them", () => {
  let seen = 0;
  for (const name of readdirSync(GOLDEN).filter((n) => !n.includes("."))) {
    const config = {
      config: {},
      tokenizer: json(join(GOLDEN, name, "tokenizer.json")),
      tokenizerConfig: json(join(GOLDEN, name, "tokenizer_config.json")),
    };
    const template = config.tokenizerConfig.chat_template;
    if (!template) continue;
    const tokenizer = loadTokenizer({ metadata: new Map(), config });
    const format = loadChatFormat({ template, tokenizer });
    for (const c of json(join(GOLDEN, name, "cases.json")).chat) {
      expect(format.render(c.messages, { addGenerationPrompt: c.add_generation_prompt }).text).toBe(c.text);
      seen++;
    }
  }
  expect(seen).toBeGreaterThan(5);
});

describe("the demo model", () => {
  const model = openModel(join(import.meta.dir, "../../assets/alloy-demo-q8_0.gguf"));
  const tokenizer = loadTokenizer(model);
  const format = loadChatFormat({ template: model.metadata.get("tokenizer.chat_template") as string, tokenizer, architecture: "qwen3" });
  const hi: ChatMessage[] = [{ role: "user", content: "Hi" }];

  test("capabilities", () => {
    expect(format.toolFormat).toBe("hermes");
    expect(format.capabilities).toEqual({ tools: true, thinking: true, system: true });
    expect([...tokenizer.endTokens].map((id) => tokenizer.piece(id))).toContain("<|im_end|>");
  });

  test("thinking off, on and by default", () => {
    const off = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";
    expect(format.render(hi)).toEqual({ text: off, startsInReasoning: false });
    expect(format.render(hi, { thinking: "off" })).toEqual({ text: off, startsInReasoning: false });
    expect(format.render(hi, { thinking: "high" })).toEqual({
      text: "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
      startsInReasoning: false,
    });
  });

  test("special tokens of a prompt are single tokens", () => {
    const ids = tokenizer.encode(format.render(hi).text);
    expect(ids.filter((id) => tokenizer.isSpecial(id)).length).toBe(3);
    expect(ids).toContain(tokenizer.id("<think>") as number);
  });

  test("continuing an answer ends with it, white space and all", () => {
    const { text } = format.render([...hi, { role: "assistant", content: "Hello, \n" }], { addGenerationPrompt: false });
    expect(text.endsWith("</think>\n\nHello, \n")).toBe(true);
  });

  test("calls come back as the model wrote them", () => {
    const call = '{"city":"Oslo",  "n": 1.0}';
    const { text } = format.render(
      [...hi, { role: "assistant", content: "", toolCalls: [{ id: "1", name: "get_weather", arguments: call }] }],
      { tools },
    );
    expect(text).toContain(`<tool_call>\n{"name": "get_weather", "arguments": ${call}}\n</tool_call>`);
  });
});

describe.skipIf(!existsSync(TEMPLATES))("published templates (skipped without ../shared/templates)", () => {
  for (const file of existsSync(TEMPLATES) ? readdirSync(TEMPLATES) : []) {
    test(file, () => {
      const format = loadChatFormat({ template: readFileSync(join(TEMPLATES, file), "utf8"), tokenizer: tokenizerWith() });
      expect(format.render([{ role: "user", content: "PLAIN-QUESTION" }]).text).toContain("PLAIN-QUESTION");
      const system = format.render([
        { role: "system", content: "SYSTEM-TEXT" },
        { role: "user", content: "A-QUESTION" },
        { role: "assistant", content: "AN-ANSWER" },
        { role: "system", content: "LATE-SYSTEM-TEXT" },
        { role: "user", content: "B-QUESTION" },
        { role: "user", content: "C-QUESTION" },
      ]).text;
      for (const word of ["SYSTEM-TEXT", "A-QUESTION", "AN-ANSWER", "LATE-SYSTEM-TEXT", "B-QUESTION", "C-QUESTION"])
        expect(system).toContain(word);
      const tool = format.render(toolTurn, { tools }).text;
      for (const word of ["WEATHER-QUESTION", "get_weather", "PARIS-ARGUMENT", "SUNNY-RESULT"]) expect(tool).toContain(word);
      const [user, call, result] = toolTurn;
      const twice = [
        user,
        {
          ...call,
          toolCalls: [...(call.toolCalls ?? []), { id: "call_def", name: "get_weather", arguments: '{"city": "ROME-ARGUMENT"}' }],
        },
      ];
      const parallel = format.render([...twice, result, { ...result, content: "RAIN-RESULT", toolCallId: "call_def" }], { tools }).text;
      for (const word of ["PARIS-ARGUMENT", "ROME-ARGUMENT", "SUNNY-RESULT", "RAIN-RESULT"]) expect(parallel).toContain(word);
      const broken = format.render([user, { ...call, toolCalls: [{ id: "x", name: "get_weather", arguments: "{broken" }] }, result], {
        tools,
      }).text;
      expect(broken).toContain("SUNNY-RESULT");
      try {
        format.render([], {});
      } catch (e) {
        expect((e as AlloyError).code).toBe("template_error");
      }
    });
  }
});
