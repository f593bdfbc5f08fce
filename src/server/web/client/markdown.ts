/**
 * Markdown to DOM nodes. Model output is untrusted: it is parsed to tokens, and each kind of token has its element here; text becomes text nodes,
 * HTML stays visible text, pictures become links, and links lead to http, https and mail only.
 */
import { lexer, type MarkedToken, type Token, type Tokens } from "marked";
import { copyButton, h } from "./dom.ts";

/** Shows a text that grows: blocks that did not change keep their nodes, so that selections and scroll positions survive. */
export class MarkdownView {
  readonly element = h("div", { class: "markdown" });
  #blocks: { raw: string; code: boolean; node: HTMLElement }[] = [];

  update(text: string): void {
    const tokens = parse(text);
    let same = 0;
    while (same < tokens.length && this.#blocks[same]?.raw === tokens[same].raw) same++;
    const growing = this.#blocks[same];
    const next = tokens[same];
    if (growing?.code && next?.type === "code") {
      growing.node.querySelector("code")!.textContent = next.text;
      growing.node.querySelector(".language")!.textContent = language(next as Tokens.Code);
      growing.raw = next.raw;
      same++;
    }
    for (const { node } of this.#blocks.splice(same)) node.remove();
    for (const token of tokens.slice(same)) {
      const node = block(token as MarkedToken);
      this.#blocks.push({ raw: token.raw, code: token.type === "code", node });
      this.element.append(node);
    }
  }
}

/** Top-level blocks; text that is nested too deeply to parse is shown as it is. */
function parse(text: string): Token[] {
  try {
    return lexer(text).filter((t) => t.type !== "space" && t.type !== "def");
  } catch {
    return [{ type: "paragraph", raw: text, text, tokens: [{ type: "text", raw: text, text, escaped: false }] }];
  }
}

function block(token: MarkedToken): HTMLElement {
  switch (token.type) {
    case "heading":
      // The page's own headings stand above those of an answer.
      return h(`h${Math.min(token.depth + 2, 6)}` as "h3", { "data-depth": String(token.depth) }, ...inlines(token.tokens));
    case "code":
      return codeBlock(token);
    case "blockquote":
      return h("blockquote", {}, ...blocks(token.tokens));
    case "list":
      return list(token);
    case "table":
      return table(token);
    case "hr":
      return h("hr");
    case "paragraph":
      return h("p", {}, ...inlines(token.tokens));
    case "html":
      return h("p", { class: "raw" }, token.raw.trimEnd());
    default:
      return h("p", {}, ...inline(token));
  }
}

function blocks(tokens: Token[]): Node[] {
  return tokens.filter((t) => t.type !== "space" && t.type !== "def").map((t) => block(t as MarkedToken));
}

function codeBlock(token: Tokens.Code): HTMLElement {
  const code = h("code", {}, token.text);
  const bar = h(
    "div",
    { class: "code-bar" },
    h("span", { class: "language" }, language(token)),
    copyButton("Copy code", () => code.textContent ?? ""),
  );
  // Wide code scrolls, and what scrolls must be reachable without a pointer.
  return h("div", { class: "code" }, bar, h("pre", { tabindex: "0" }, code));
}

function language(token: Tokens.Code): string {
  return token.lang?.split(/\s/)[0] || "text";
}

function list(token: Tokens.List): HTMLElement {
  const items = token.items.map((item) => {
    // Items of a tight list hold text, not paragraphs.
    const children = item.tokens
      .filter((t) => t.type !== "space")
      .flatMap((t) => {
        if (t.type === "checkbox") return [checkbox((t as Tokens.Checkbox).checked)];
        return t.type === "text" ? inline(t as MarkedToken) : [block(t as MarkedToken)];
      });
    return h("li", { class: item.task ? "task" : undefined }, ...children);
  });
  if (!token.ordered) return h("ul", {}, ...items);
  return h("ol", { start: token.start === "" ? undefined : String(token.start) }, ...items);
}

function checkbox(checked: boolean): HTMLElement {
  return h("input", { type: "checkbox", disabled: true, checked, "aria-label": checked ? "done" : "open" });
}

function table(token: Tokens.Table): HTMLElement {
  const cell = (tag: "th" | "td", c: Tokens.TableCell) => h(tag, { class: c.align ? `align-${c.align}` : undefined }, ...inlines(c.tokens));
  const head = h("thead", {}, h("tr", {}, ...token.header.map((c) => cell("th", c))));
  const body = h("tbody", {}, ...token.rows.map((row) => h("tr", {}, ...row.map((c) => cell("td", c)))));
  return h("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Table" }, h("table", {}, head, body));
}

function inlines(tokens: Token[]): Node[] {
  return tokens.flatMap((t) => inline(t as MarkedToken));
}

function inline(token: MarkedToken): Node[] {
  switch (token.type) {
    case "strong":
    case "em":
    case "del":
      return [h(token.type, {}, ...inlines(token.tokens))];
    case "codespan":
      return [h("code", {}, token.text)];
    case "br":
      return [h("br")];
    case "link":
      return link(token.href, inlines(token.tokens));
    case "image":
      // Fetching it would tell its server what was asked.
      return link(token.href, [document.createTextNode(`image: ${token.text || token.href}`)]);
    case "escape":
      return [document.createTextNode(token.text)];
    case "html":
      return [/^<br\s*\/?>$/i.test(token.raw) ? h("br") : document.createTextNode(token.raw)];
    case "text":
      return token.tokens ? inlines(token.tokens) : [document.createTextNode(decodeEntities(token.text))];
    default:
      return [document.createTextNode(token.raw)];
  }
}

function link(href: string, children: Node[]): Node[] {
  const url = URL.parse(decodeEntities(href));
  if (url === null || !["http:", "https:", "mailto:"].includes(url.protocol)) return children;
  return [h("a", { href: url.href, title: url.href, target: "_blank", rel: "noopener noreferrer nofollow" }, ...children)];
}

const ENTITIES: Record<string, string> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
  nbsp: "\u00a0",
  mdash: "—",
  ndash: "–",
  hellip: "…",
};

function decodeEntities(text: string): string {
  return text.replace(/&(?:#x([0-9a-f]{1,6})|#(\d{1,7})|([a-z]+));/gi, (whole, hex?: string, decimal?: string, name?: string) => {
    if (name !== undefined) return ENTITIES[name.toLowerCase()] ?? whole;
    const code = hex === undefined ? Number(decimal) : parseInt(hex, 16);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}
