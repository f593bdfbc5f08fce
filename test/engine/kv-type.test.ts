/** The demo model with its keys and values in bytes. */
import { expect, setDefaultTimeout, test } from "bun:test";
import type { ChatMessage } from "../../src/chat/api.ts";
import { createEngine } from "../../src/engine/create.ts";
import { collect } from "./fakes.ts";

setDefaultTimeout(120_000);

test("q8_0: it answers as ever, in half the memory, and the prefix cache works", async () => {
  const half = await createEngine({ place: "here", models: ["demo"], kvType: "q8_0", contextLength: 1024, parallel: 4 });
  const full = await createEngine({ place: "here", models: ["demo"], contextLength: 1024, parallel: 4 });
  try {
    const [{ cache: small, memoryBytes: less }] = await half.loaded();
    const [{ cache, memoryBytes }] = await full.loaded();
    expect([small.type, cache.type]).toEqual(["q8_0", "f16"]);
    expect(small.blocks).toBe(cache.blocks);
    expect(small.bytes / cache.bytes).toBe(17 / 32);
    expect(memoryBytes - less).toBe(cache.bytes - small.bytes);
    const ask = async (engine: typeof half, messages: ChatMessage[]) =>
      collect(engine.generate({ id: "q", model: "demo", prompt: { kind: "chat", messages }, sampling: { temperature: 0 }, maxTokens: 30 }));
    for (const question of ["What is the capital of France?", "What is 12 + 30?", "Name a colour."]) {
      const messages: ChatMessage[] = [{ role: "user", content: question }];
      expect((await ask(half, messages)).text).toBe((await ask(full, messages)).text);
    }
    const long: ChatMessage[] = [
      { role: "user", content: `${"Please answer in one short sentence. ".repeat(40)}What is the capital of France?` },
    ];
    const first = await ask(half, long);
    expect(first.end.usage.cachedTokens).toBe(0);
    const again = await ask(half, long);
    expect(again.end.usage.cachedTokens).toBeGreaterThan(again.end.usage.promptTokens - 10);
    expect(again.text).toBe(first.text);
  } finally {
    await half.close();
    await full.close();
  }
});
