/** `GET /` and the files of the page, as HTTP: who gets what, caching, policies, the guard, and the page inside a bundle. */
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { prefersHtml } from "../../../src/server/web/accept.ts";
import { buildPage, embedPage } from "../../../src/server/web/bundle.ts";
import { rawRequest, start } from "../harness.ts";

const CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8";
const FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
const html = { headers: { accept: CHROME } };

describe("who gets the page", () => {
  test("browsers, and nobody whose client compares the greeting", () => {
    const pages = [CHROME, FIREFOX, "text/html", "TEXT/HTML; q=0.5", "text/plain;q=0.4, text/html;q=0.5"];
    const greetings = [
      null,
      "",
      "*/*",
      "text/*",
      "application/json",
      "application/json, text/plain, */*",
      "text/plain",
      "text/html;q=0.4, text/plain",
      "text/html;q=0",
      "text/html;q=nonsense",
      "application/x-ndjson",
      "application/json, text/html;q=0.9",
    ];
    expect(pages.filter((accept) => !prefersHtml(accept))).toEqual([]);
    expect(greetings.filter((accept) => prefersHtml(accept))).toEqual([]);
  });

  test("GET and HEAD answer alike; what the answer depends on is said", async () => {
    await using h = await start();
    for (const accept of ["*/*", "application/json"]) {
      const answer = await fetch(h.url, { headers: { accept } });
      expect([await answer.text(), answer.headers.get("vary")]).toEqual(["Ollama is running", "Accept"]);
      const head = await fetch(h.url, { method: "HEAD", headers: { accept } });
      expect([head.status, head.headers.get("content-type"), await head.text()]).toEqual([200, "text/plain; charset=utf-8", ""]);
    }
    expect(await rawRequest(h.server.port, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")).toEndWith("\r\n\r\nOllama is running");
    const page = await fetch(h.url, html);
    expect([page.status, page.headers.get("content-type"), page.headers.get("vary")]).toEqual([
      200,
      "text/html; charset=utf-8",
      "Accept, Accept-Encoding",
    ]);
    expect(await page.text()).toStartWith("<!doctype html>");
    const head = await fetch(h.url, { method: "HEAD", ...html });
    expect([head.status, head.headers.get("etag"), await head.text()]).toEqual([200, page.headers.get("etag"), ""]);
  });

  test("with an API key the page still loads, and the API does not answer without one", async () => {
    await using h = await start({}, { env: { ALLOY_API_KEY: "secret" } });
    const page = await (await fetch(h.url, html)).text();
    for (const [, path] of page.matchAll(/(?:src|href)="(web\/[^"]+)"/g)) expect((await fetch(`${h.url}/${path}`)).status).toBe(200);
    expect((await fetch(`${h.url}/v1/models`)).status).toBe(401);
  });

  test("a rebound name gets neither page nor files", async () => {
    await using h = await start();
    const [file] = Object.keys(await buildPage());
    for (const path of ["/", `/${file}`]) {
      const answer = await rawRequest(h.server.port, `GET ${path} HTTP/1.1\r\nHost: evil.example\r\nAccept: text/html\r\n\r\n`);
      expect(answer).toStartWith("HTTP/1.1 403");
      expect(answer.split("\r\n\r\n")[1]).toBe("");
    }
  });
});

describe("files", () => {
  test("may be kept for good, because their names change with their content", async () => {
    await using h = await start();
    const files = await buildPage();
    expect(Object.keys(files).sort()).toEqual(Object.keys(await buildPage()).sort());
    for (const path of Object.keys(files).filter((p) => p !== "")) {
      expect(path).toMatch(/^web\/\w+\.[0-9a-f]{12}\.(js|css|svg)$/);
      const file = await fetch(`${h.url}/${path}`);
      expect(file.headers.get("cache-control")).toBe("public, max-age=31536000, immutable");
      expect(file.headers.get("x-content-type-options")).toBe("nosniff");
      expect(await file.text()).toBe(files[path]);
      const again = await fetch(`${h.url}/${path}`, { headers: { "if-none-match": `"x", ${file.headers.get("etag")}` } });
      expect([again.status, await again.text()]).toEqual([304, ""]);
    }
  });

  test("the page itself is asked for again, and answered with 304", async () => {
    await using h = await start();
    const first = await fetch(h.url, html);
    expect(first.headers.get("cache-control")).toBe("no-cache");
    const second = await fetch(h.url, { headers: { accept: CHROME, "if-none-match": first.headers.get("etag")! } });
    expect([second.status, await second.text()]).toEqual([304, ""]);
  });

  test("other names are 404, other methods 405", async () => {
    await using h = await start();
    for (const path of ["/web/main.js", "/web/", "/web/../package.json", "/web/%2e%2e%2fbuild.ts", "/web/constructor"]) {
      expect([path, (await fetch(h.url + path)).status]).toEqual([path, 404]);
    }
    expect((await h.post("/web/main.js", {})).status).toBe(405);
  });
});

describe("policies", () => {
  test("nothing inline, nothing from elsewhere, no HTML from text", async () => {
    await using h = await start();
    const answer = await fetch(h.url, html);
    const policy = answer.headers.get("content-security-policy")!.split("; ");
    for (const rule of ["default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "trusted-types 'none'"]) {
      expect(policy).toContain(rule);
    }
    expect(policy.join(" ")).not.toMatch(/unsafe|https?:|\*/);
    const page = await answer.text();
    expect(page).not.toMatch(/<script(?![^>]* src=)|<style|\sstyle=|\son\w+=/i);
    expect(page.match(/integrity="sha256-/g)).toHaveLength(2);
    const texts = Object.values(await buildPage()).join("\n");
    const addresses = [...texts.matchAll(/\bhttps?:\/\/[\w.-]+/g)].map(([a]) => a);
    // SVG's name, and where an error message of the Markdown parser asks to report it.
    expect(addresses.filter((a) => a !== "http://www.w3.org" && a !== "https://github.com")).toEqual([]);
    expect(texts).not.toMatch(/@import|\.innerHTML|insertAdjacentHTML|document\.write/);
  });
});

test("a bundle carries the page: no source is read", async () => {
  const folder = mkdtempSync(join(tmpdir(), "alloy-page-"));
  try {
    const page = join(import.meta.dir, "../../../src/server/web/page.ts");
    await Bun.write(
      join(folder, "entry.ts"),
      `import { rootOrPage } from ${JSON.stringify(page)};
       const context = { request: new Request("http://x/", { headers: { accept: "text/html" } }), headers: new Headers() };
       console.log(await (await rootOrPage(context as never)).text());`,
    );
    const files = { "": "<!doctype html><p>carried</p>" };
    const result = await Bun.build({ entrypoints: [join(folder, "entry.ts")], target: "bun", outdir: folder, plugins: [embedPage(files)] });
    expect(result.success).toBe(true);
    const run = Bun.spawnSync([process.execPath, join(folder, "entry.js")], { cwd: folder });
    expect(run.stdout.toString().trim()).toBe(files[""]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
