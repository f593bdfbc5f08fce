/** The chat page in Chromium: what a user does, and what the engine hears of it. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Browser } from "playwright-core";
import type { ChatMessage } from "../../../src/chat/api.ts";
import { AlloyError } from "../../../src/support/errors.ts";
import { scriptedModel, type Step } from "../scripted-engine.ts";
import { until } from "../harness.ts";
import { CHROMIUM, launch, type Visit, visit } from "./browser.ts";

if (CHROMIUM === undefined)
  console.log("no Chromium here: the chat page is not tested (Debian: apt-get install chromium; CHROMIUM names another)");

setDefaultTimeout(120_000);
let browser: Browser;
beforeAll(async () => {
  if (CHROMIUM !== undefined) browser = await launch();
});
afterAll(async () => await browser?.close());

const say = (text: string): Step[] => [{ type: "text", text }];
const messages = (v: Visit, at = -1) => {
  const { prompt } = v.server.engine.requests.at(at)!;
  return prompt.kind === "chat" ? prompt.messages : [];
};
const brief = (list: ChatMessage[]) =>
  list.map((m) => `${m.role}: ${typeof m.content === "string" ? m.content : JSON.stringify(m.content)}`);
const last = (v: Visit) => v.page.locator(".assistant").last();

describe.skipIf(CHROMIUM === undefined)("a conversation", () => {
  test("is sent, streamed and kept over a reload", async () => {
    await using v = await visit(browser, {
      script: () => [...say("one two"), { type: "wait", ms: 3000 }, ...say(" three four five six seven")],
    });
    await v.send("Count");
    await v.page.getByText("one two").waitFor();
    expect(await last(v).locator(".markdown").last().textContent()).not.toContain("seven");
    await v.page.getByText("tok/s").waitFor();
    await v.answered();
    expect(await last(v).locator("footer .meta").textContent()).toMatch(/^demo · 7 tokens · [\d.]+ tok\/s · prompt \d+$/);
    await v.send("Again");
    await v.answered();
    expect(brief(messages(v))).toEqual(["user: Count", "assistant: one two three four five six seven", "user: Again"]);
    await v.page.reload();
    await v.page.locator(".assistant").nth(1).waitFor();
    expect(await v.page.locator(".bubble").allTextContents()).toEqual(["Count", "Again"]);
    expect(await v.page.title()).toBe("Count · Alloy");
    expect(v.faults).toEqual([]);
  });

  test("stops, by button and by Escape; what is there stays, and the engine is told", async () => {
    await using v = await visit(browser, { script: () => say("word ".repeat(400)), delayMs: 20 });
    for (const [i, stop] of [() => v.page.getByRole("button", { name: "Stop" }).click(), () => v.page.keyboard.press("Escape")].entries()) {
      await v.send("Talk");
      await v.page.locator(".assistant").nth(i).getByText("word word").first().waitFor();
      await stop();
      await v.answered();
      expect(await last(v).locator(".notice").textContent()).toBe("Stopped.");
      expect(await last(v).locator(".markdown").last().textContent()).toContain("word");
      await until(() => v.server.engine.cancelled.length === i + 1, "the engine stops");
    }
    await v.page.getByRole("button", { name: "Send" }).waitFor();
    expect(v.faults).toEqual([]);
  });

  test("an answer is tried again; an earlier message is edited, and what followed it goes", async () => {
    let n = 0;
    await using v = await visit(browser, { script: () => say(`answer ${++n}`) });
    await v.send("first");
    await v.answered();
    await last(v).getByRole("button", { name: "Try again" }).click();
    await v.page.getByText("answer 2").waitFor();
    expect(await v.page.locator(".assistant").count()).toBe(1);
    expect(brief(messages(v))).toEqual(["user: first"]);
    await v.send("second");
    await v.page.getByText("answer 3").waitFor();
    await v.page.locator(".user").first().hover();
    await v.page.getByRole("button", { name: "Edit message" }).first().click();
    await v.page.getByRole("textbox", { name: "Edit message" }).fill("changed");
    await v.page.locator(".editing").getByRole("button", { name: "Send" }).click();
    await v.page.getByText("answer 4").waitFor();
    expect(await v.page.locator(".bubble").allTextContents()).toEqual(["changed"]);
    expect(brief(messages(v))).toEqual(["user: changed"]);
    expect(v.faults).toEqual([]);
  });

  test("goes on while another one is looked at; a reload in the middle keeps what was there", async () => {
    let words = 200;
    await using v = await visit(browser, { script: () => say(`${"word ".repeat(words)}end`), delayMs: 20 });
    await v.send("first");
    await v.page.getByText("word word").first().waitFor();
    await v.page.getByRole("button", { name: "New chat" }).click();
    expect(await v.page.locator("#conversations .busy").count()).toBe(1);
    await until(() => v.server.engine.finished.length === 1, "the answer ends");
    await v.page.locator("#conversations li:not(.busy) .conversation").click();
    await v.page.getByText("word end").waitFor();
    words = 2000;
    await v.send("second");
    await last(v).getByText("word word").waitFor();
    await v.page.reload();
    await last(v).getByText("Stopped.").waitFor();
    expect(await last(v).locator(".markdown").last().textContent()).toContain("word");
    expect(v.faults).toEqual([]);
  });

  test("is one of several: new, opened again, deleted, brought back", async () => {
    await using v = await visit(browser);
    const list = () => v.page.locator(".conversation").allTextContents();
    await v.send("about tin");
    await v.answered();
    await v.page.getByRole("button", { name: "New chat" }).click();
    await v.page.getByText("What would you like to know?").waitFor();
    await v.send("about copper");
    await v.answered();
    expect(await list()).toEqual(["about copper", "about tin"]);
    await v.page.getByRole("button", { name: "about tin", exact: true }).click();
    await v.page.getByText("echo: about tin").waitFor();
    await v.page.getByRole("button", { name: "Delete “about tin”" }).click();
    await v.page.getByText("is deleted").waitFor();
    expect(await list()).toEqual(["about copper"]);
    await v.page.getByRole("button", { name: "Undo" }).click();
    await v.page.getByText("echo: about tin").waitFor();
    await v.page.reload();
    await v.page.getByText("echo: about tin").waitFor();
    expect(await list()).toEqual(["about copper", "about tin"]);
    expect(v.faults).toEqual([]);
  });
});

describe.skipIf(CHROMIUM === undefined)("settings", () => {
  test("model, system prompt, thinking and sampling reach the engine, and stay", async () => {
    const models = [scriptedModel("qwen3:8b"), scriptedModel("demo"), scriptedModel("bge", { capabilities: ["embedding"] })];
    await using v = await visit(browser, { models });
    const listed = () => v.page.locator("#model option").first().waitFor({ state: "attached" });
    await listed();
    expect(await v.page.getByLabel("Model", { exact: true }).locator("option").allTextContents()).toEqual(["qwen3:8b", "demo"]);
    await v.page.getByLabel("Model", { exact: true }).selectOption("demo");
    await v.page.getByRole("button", { name: "Settings" }).click();
    await v.page.getByLabel("System prompt").fill("Answer in Latin.");
    await v.page.getByLabel("Temperature").fill("0.25");
    await v.page.getByLabel("Top k").fill("7");
    await v.page.getByLabel("Max tokens").fill("3");
    await v.page.getByLabel("Seed").fill("42");
    await v.page.getByLabel("Thinking").selectOption("none");
    await v.page.getByRole("button", { name: "Done" }).click();
    await v.send("hello there my friend");
    await v.answered();
    const request = v.server.engine.requests.at(-1)!;
    expect([request.model, request.maxTokens]).toEqual(["demo", 3]);
    expect(request.sampling).toMatchObject({ temperature: 0.25, topK: 7, seed: 42 });
    expect(request.sampling.topP).toBeUndefined();
    expect(request.prompt).toMatchObject({ thinking: "off" });
    expect(brief(messages(v))[0]).toBe("system: Answer in Latin.");
    expect(await last(v).locator(".notice").textContent()).toBe("Cut off at the token limit.");
    await v.page.reload();
    await listed();
    expect(await v.page.getByLabel("Model", { exact: true }).inputValue()).toBe("demo");
    await v.page.keyboard.press("Control+,");
    expect(await v.page.getByLabel("Temperature").inputValue()).toBe("0.25");
    expect(v.faults).toEqual([]);
  });

  test("a server with an API key is asked for it once", async () => {
    await using v = await visit(browser, {}, { server: { env: { ALLOY_API_KEY: "open sesame" } } });
    await v.page.getByText("This server asks for a key").waitFor();
    await v.page.locator("#key").fill("wrong");
    await v.page.keyboard.press("Enter");
    await v.page.getByText("is not valid").waitFor();
    await v.page.locator("#key").fill("open sesame");
    await v.page.keyboard.press("Enter");
    await v.page.locator("#model option").waitFor({ state: "attached" });
    await v.send("hi");
    await v.page.getByText("echo: hi").waitFor();
    await v.page.reload();
    await v.page.getByText("echo: hi").waitFor();
    expect(await v.page.locator("#key-dialog").isVisible()).toBe(false);
    expect(v.faults).toEqual([]);
  });
});

describe.skipIf(CHROMIUM === undefined)("tools and thinking", () => {
  test("thinking and calls are folded; a result that the user writes goes to the model", async () => {
    let n = 0;
    const script = (): Step[] =>
      n++ === 0
        ? [
            { type: "reasoning", text: "I need **weather** data." },
            { type: "tool", id: "c1", name: "weather", arguments: '{"city": "Oslo"}' },
          ]
        : say("It snows.");
    await using v = await visit(browser, { script });
    await v.page.getByRole("button", { name: "Settings" }).click();
    await v.page.getByText("Tools", { exact: true }).click();
    const tools = v.page.getByLabel("Definitions, as a JSON array");
    await tools.fill("[{");
    await v.page.getByText("not valid JSON").waitFor();
    await tools.fill('[{"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}]');
    expect(await v.page.locator("#tools-problem").textContent()).toBe("");
    await v.page.getByRole("button", { name: "Done" }).click();
    await v.send("Weather in Oslo?");
    await v.answered();
    const thinking = last(v).locator(".thinking");
    expect(await thinking.locator(".markdown").isVisible()).toBe(false);
    await thinking.locator("summary").click();
    expect(await thinking.locator("strong").textContent()).toBe("weather");
    const call = last(v).locator(".call");
    expect(await call.locator("summary").innerText()).toMatch(/weather\s*{"city": "Oslo"}/);
    await call.locator("summary").click();
    expect(await call.getByLabel("Arguments").textContent()).toBe('{\n  "city": "Oslo"\n}');
    await v.page.getByLabel("Result of weather").fill("-3 degrees, snow");
    await v.page.getByRole("button", { name: "Send results" }).click();
    await v.page.getByText("It snows.").waitFor();
    expect(messages(v).slice(1)).toMatchObject([
      { role: "assistant", toolCalls: [{ id: "c1", name: "weather" }] },
      { role: "tool", content: "-3 degrees, snow", toolCallId: "c1" },
    ]);
    expect(v.faults).toEqual([]);
  });
});

describe.skipIf(CHROMIUM === undefined)("errors", () => {
  test("what is written before the page has started is sent when it has", async () => {
    await using v = await visit(browser, say("here"));
    await v.page.addInitScript(() => {
      const open = IDBFactory.prototype.open;
      // The database opens a second late, as it does on a busy machine; its tables have to be made at once.
      IDBFactory.prototype.open = function (...args) {
        const request = open.apply(this, args);
        const listen = request.addEventListener.bind(request);
        const late = (type: string, f: () => void) => listen(type, type === "success" ? () => setTimeout(f, 1000) : f);
        request.addEventListener = late as typeof request.addEventListener;
        return request;
      };
    });
    await v.page.reload();
    await v.send("early");
    await v.answered();
    expect(brief(messages(v))).toEqual(["user: early"]);
  });

  test("a message that is faster than the list of models is sent when that is there", async () => {
    await using v = await visit(browser);
    const held = Promise.withResolvers<void>();
    await v.page.route("**/v1/models", async (route) => {
      await held.promise;
      await route.continue();
    });
    await v.page.reload();
    await v.send("early");
    expect(v.server.engine.requests).toEqual([]);
    held.resolve();
    await v.page.getByText("echo: early").waitFor();
    expect(await v.page.getByLabel("Message", { exact: true }).inputValue()).toBe("");
    expect(v.faults).toEqual([]);
  });

  test("a server that is gone is said, and asked again when it is back", async () => {
    await using v = await visit(browser);
    await v.page.locator("#model option").waitFor({ state: "attached" });
    await v.page.route("**/v1/chat/completions", (route) => route.abort("connectionrefused"));
    await v.send("hello");
    await last(v).getByText("The server cannot be reached").waitFor();
    await v.page.unroute("**/v1/chat/completions");
    await last(v).getByRole("button", { name: "Try again" }).click();
    await v.page.getByText("echo: hello").waitFor();
    await v.server.server.stop(0);
    await v.send("still there?");
    await last(v).getByText("The server cannot be reached").waitFor();
    expect(v.faults).toEqual([]);
  });

  test("a refusal and a failure in the middle stand in the answer, in the server's words", async () => {
    let n = 0;
    const error = new AlloyError("model_load_failed", "the model's file is cut off at byte 12", { hint: "Pull it again." });
    const script = (): Step[] =>
      n++ === 0
        ? [
            { type: "text", text: "half an" },
            { type: "error", error },
          ]
        : say("whole");
    await using v = await visit(browser, { script, contextLength: 40 });
    await v.send("hello");
    await v.answered();
    expect(await last(v).locator(".notice.error").textContent()).toContain("cut off at byte 12");
    expect(await last(v).locator(".markdown").last().textContent()).toContain("half an");
    await v.send("long ".repeat(100));
    await v.answered();
    expect(await last(v).locator(".notice.error").textContent()).toContain("maximum context length is 40 tokens");
    expect(v.faults).toEqual([]);
  });
});
