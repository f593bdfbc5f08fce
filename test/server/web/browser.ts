/** Chromium, driven by Playwright, on the chat page of a server with the scripted model. Every page is watched for what it must not do. */
import { existsSync } from "node:fs";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { type Harness, start } from "../harness.ts";
import type { ScriptedOptions, Step } from "../scripted-engine.ts";
import type { ServerOptions } from "../../../src/server/app.ts";

const PLACES = [
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

/** CHROMIUM names another one. */
export const CHROMIUM = [process.env.CHROMIUM ?? "", ...PLACES].find((p) => p !== "" && existsSync(p));

/** Root, as in containers, has no sandbox; the pages under test are our own. */
export const launch = (): Promise<Browser> =>
  chromium.launch({ executablePath: CHROMIUM, args: process.getuid?.() === 0 ? ["--no-sandbox"] : [] });

export interface Visit extends AsyncDisposable {
  page: Page;
  server: Harness;
  /** What went wrong so far: requests to elsewhere, CSP violations, uncaught errors. */
  faults: string[];
  /** Writes a message and presses Enter. */
  send(text: string): Promise<void>;
  /** Waits until the last answer is complete. */
  answered(): Promise<void>;
}

/** Opens the page in a browser of its own (its own storage). */
export async function visit(
  browser: Browser,
  script: ScriptedOptions | Step[] = {},
  options: { context?: BrowserContextOptions; server?: Partial<ServerOptions> } = {},
): Promise<Visit> {
  const server = await start(script, options.server);
  const context = await browser.newContext({ permissions: ["clipboard-read", "clipboard-write"], ...options.context });
  const faults: string[] = [];
  context.on("request", (request) => {
    if (!request.url().startsWith(`${server.url}/`)) faults.push(`request to ${request.url()}`);
  });
  context.on("weberror", (error) => faults.push(`uncaught: ${error.error().message}`));
  context.on("console", (message) => {
    if (/content security policy|trusted type|integrity/i.test(message.text())) faults.push(message.text());
  });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  await page.goto(`${server.url}/`);
  return {
    page,
    server,
    faults,
    async send(text) {
      await page.getByLabel("Message", { exact: true }).fill(text);
      await page.keyboard.press("Enter");
    },
    async answered() {
      await page.locator('.assistant:last-child[aria-busy="false"]').waitFor();
    },
    async [Symbol.asyncDispose]() {
      await context.close();
      await server.server.stop(0);
    },
  };
}
