/** What must not stand in the repository's files, and what its documents promise. */
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import manifest from "../../package.json" with { type: "json" };
import { read, repositoryFiles, ROOT } from "./files.ts";

const TEXT = [".ts", ".js", ".c", ".h", ".m", ".sh", ".md", ".json", ".toml", ".html"];
const sources = repositoryFiles(...TEXT).filter((f) => !f.startsWith("test/fixtures/"));

describe("texts", () => {
  test("no path of one machine, and no unfinished work", () => {
    // Written in pieces, so that this file does not name what it looks for.
    const literal = (text: string) => new RegExp(`(?<![\\w$.])${RegExp.escape(text)}`);
    const forbidden = [
      literal(join(ROOT, "/")),
      literal(join(homedir(), "/")),
      literal(["/wo", "rk/"].join("")),
      /(?<![\w.])\/Users\/[a-z]/,
      new RegExp(`\\b(${["TO", "FIX", "X"].map((w, i) => w + ["DO", "ME", "XX"][i]).join("|")})\\b`),
      new RegExp(`\\b(test|describe)${"[.]"}skip\\(`),
    ];
    const found = sources.flatMap((file) =>
      read(file)
        .split("\n")
        .flatMap((line, i) => (forbidden.some((f) => f.test(line)) ? [`${file}:${i + 1}: ${line.trim().slice(0, 100)}`] : [])),
    );
    expect(found).toEqual([]);
  });

  test("files end with a newline and hold no tabs, trailing blanks or carriage returns", () => {
    const wrong = sources.filter((file) => !file.endsWith(".json") && (!read(file).endsWith("\n") || /[ \t]+$|\r/m.test(read(file))));
    expect(wrong).toEqual([]);
  });

  test("dependencies are pinned exactly, and each has its line in docs/dependencies.md", () => {
    const all = { ...manifest.dependencies, ...manifest.devDependencies } as Record<string, string>;
    const page = read("docs/dependencies.md");
    for (const [name, version] of Object.entries(all)) {
      expect(version).toMatch(/^(npm:[\w@/-]+@)?\d+\.\d+\.\d+$/);
      expect(page).toContain(`| \`${name}\` | ${version} |`);
    }
    const named = [...page.matchAll(/^\| `([^`]+)` \| \d/gm)].map((m) => m[1]);
    expect(named.filter((n) => !(n in all))).toEqual([]);
  });

  test("the changelog tells of this version, and install.sh pins the Bun that types are for", () => {
    expect(read("CHANGELOG.md")).toContain(`## ${manifest.version}`);
    expect(read("install.sh")).toContain(`BUN_VERSION=${Bun.version}`);
  });
});

describe("documents", () => {
  const documents = repositoryFiles(".md").filter((f) => !f.startsWith("test/fixtures/"));

  test("links lead somewhere", () => {
    const broken = documents.flatMap((file) => {
      const text = read(file).replace(/```[\s\S]*?```/g, "");
      return [...text.matchAll(/\]\(([^)\s]+)\)/g)]
        .map((m) => m[1])
        .filter((link) => !/^[a-z]+:/.test(link))
        .filter((link) => {
          const [path, anchor] = link.split("#");
          const target = path === "" ? file : join(dirname(file), path);
          if (!existsSync(join(ROOT, target))) return true;
          return anchor !== undefined && target.endsWith(".md") && !anchors(target).includes(anchor);
        })
        .map((link) => `${file}: ${link}`);
    });
    expect(broken).toEqual([]);
  });

  test("docs/security.md names tests that are there", () => {
    const files = new Set(repositoryFiles(".ts"));
    const named = [...read("docs/security.md").matchAll(/`(test\/[^`]+)`/g)].map((m) => m[1]);
    expect(named.length).toBeGreaterThan(20);
    expect([...new Set(named)].filter((f) => !files.has(f))).toEqual([]);
  });

  test("docs/README.md lists every page of docs/", () => {
    const index = read("docs/README.md");
    const pages = documents.filter((f) => /^docs\/[^/]+\.md$/.test(f) && f !== "docs/README.md").map((f) => f.slice(5));
    expect(pages.filter((p) => !index.includes(`(${p})`))).toEqual([]);
  });

  test("files named in code style exist", () => {
    const missing = documents.flatMap((file) =>
      [...read(file).matchAll(/`((?:src|kernels|test|docs|bench|assets|objc-shim)\/[\w./-]*\w)`/g)]
        .map((m) => m[1])
        .filter((path) => !existsSync(join(ROOT, path)))
        .map((path) => `${file}: ${path}`),
    );
    expect(missing).toEqual([]);
  });
});

/** Anchors of a document's headings, as GitHub makes them. */
function anchors(file: string): string[] {
  return [...read(file).matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, "")
      .trim()
      .replace(/\s/g, "-"),
  );
}
