/**
 * MiniMax. M2: `<minimax:tool_call><invoke name="NAME"><parameter name="KEY">VALUE</parameter></invoke></minimax:tool_call>`. M3: every
 * tag has a marker before it, and objects and arrays are elements themselves.
 */
import type { CallReader, CallSink, ReaderState, MarkedFormat } from "./format.ts";
import { FunctionCalls } from "./qwen-xml.ts";
import { SchemaView } from "./schema.ts";
import { escaped, jsonValue, wholeLength } from "./values.ts";
import { beginningAtEnd } from "../stop.ts";
import { TaggedCall, type TagSyntax } from "./tagged.ts";

const TAGS: TagSyntax = {
  call: /^\s*([^\s"<>]{1,256})\s*"\s*>/,
  parameter: '<parameter name="',
  key: /^<parameter name="([^"]*)"\s*>/,
  close: "</parameter>",
  lines: false,
  ends: ["</invoke>", "</minimax:tool_call>"],
};

export const minimaxM2: MarkedFormat = {
  name: "minimax-m2",
  matches: (template) => template.includes("<minimax:tool_call>"),
  openers: ["<minimax:tool_call>", '<invoke name="'],
  closers: ["</minimax:tool_call>"],
  callsEndReasoning: true,
  reader: (opener, calls) =>
    opener === '<invoke name="' ? new TaggedCall(calls, TAGS) : new FunctionCalls(calls, TAGS, "</minimax:tool_call>", '<invoke name="'),
  grammar: {
    before: "<minimax:tool_call>\n",
    open: (name) => `<invoke name="${name}">\n`,
    arguments: { style: "tags", open: (key) => `<parameter name="${key}">`, close: "</parameter>\n", between: "" },
    close: "</invoke>",
    between: "\n",
    after: "\n</minimax:tool_call>",
  },
};

/** Before every tag. */
const NS = "]<]minimax[>[";

export const minimaxM3: MarkedFormat = {
  name: "minimax-m3",
  matches: (template) => template.includes("]<]minimax[>["),
  openers: [`${NS}<invoke name="`],
  closers: [`${NS}<tool_call>`, `${NS}</tool_call>`, NS],
  callsEndReasoning: true,
  reader: (_opener, calls) => new NestedTags(calls),
  grammar: {
    before: `${NS}<tool_call>\n`,
    open: (name) => `${NS}<invoke name="${name}">`,
    arguments: { style: "nested-tags", open: (key) => `${NS}<${key}>`, close: (key) => `${NS}</${key}>`, item: "item" },
    close: `${NS}</invoke>\n`,
    between: "",
    after: `${NS}</tool_call>`,
  },
};

/** An element that is open. */
interface Element {
  key: string;
  schema: SchemaView;
  /** Undefined: nothing but text has come. */
  kind?: "object" | "array";
  /** Its value goes out while it arrives. */
  streamed: boolean;
  text: string;
  members: number;
}

const MAX_TAG = 400;

class NestedTags implements CallReader {
  private raw = "";
  private buffer = "";
  private open: Element[] = [];

  constructor(private readonly calls: CallSink) {}

  push(text: string): ReaderState {
    this.raw += text;
    this.buffer += text;
    for (;;) {
      const state = this.open.length === 0 ? this.inHead() : this.inside();
      if (state === "failed") return this.finish();
      if (state === "wait") return {};
      if (state === "ended") return { rest: this.buffer };
    }
  }

  finish(): ReaderState {
    if (this.open.length > 0) this.calls.abandon();
    return { failed: this.raw };
  }

  private inHead(): "moved" | "wait" | "failed" {
    const name = /^\s*([^\s"<>]{1,256})\s*"\s*>/.exec(this.buffer);
    if (!name) return this.buffer.length > MAX_TAG ? "failed" : "wait";
    this.buffer = this.buffer.slice(name[0].length);
    this.calls.start(name[1]);
    this.open = [{ key: "invoke", schema: SchemaView.of(this.calls.tool(name[1])), kind: "object", streamed: false, text: "", members: 0 }];
    this.calls.arguments("{");
    return "moved";
  }

  private inside(): "moved" | "wait" | "failed" | "ended" {
    const element = this.open.at(-1) as Element;
    const at = this.buffer.indexOf(NS);
    const end = at < 0 ? this.buffer.length - beginningAtEnd(this.buffer, NS) : at;
    const length = at < 0 ? wholeLength(this.buffer.slice(0, end)) : end;
    const text = this.buffer.slice(0, length);
    this.buffer = this.buffer.slice(length);
    if (element.streamed) this.calls.arguments(escaped(text));
    else element.text += text;
    if (at < 0) return "wait";
    const tag = /^<(\/?)([^<>]+)>/.exec(this.buffer.slice(NS.length));
    if (!tag)
      return this.buffer.length > NS.length + MAX_TAG || !"<".startsWith(this.buffer.slice(NS.length, NS.length + 1)) ? "failed" : "wait";
    this.buffer = this.buffer.slice(NS.length + tag[0].length);
    if (tag[1] === "/") return tag[2] === element.key ? this.close(element) : "failed";
    return this.begin(element, tag[2]);
  }

  /** An element inside of another. */
  private begin(parent: Element, key: string): "moved" | "failed" {
    // Beside elements there is only white space.
    if (parent.streamed || parent.text.trim() !== "") return "failed";
    parent.text = "";
    if (parent.kind === undefined) {
      const { types } = parent.schema;
      const either = types.has("array") === types.has("object");
      parent.kind = (either ? key === "item" : types.has("array")) ? "array" : "object";
      this.calls.arguments(parent.kind === "array" ? "[" : "{");
    }
    const schema = parent.kind === "array" ? parent.schema.items : parent.schema.property(key);
    const streamed = schema.isText;
    this.calls.arguments(
      `${parent.members++ > 0 ? ", " : ""}${parent.kind === "array" ? "" : `${JSON.stringify(key)}: `}${streamed ? '"' : ""}`,
    );
    this.open.push({ key, schema, streamed, text: "", members: 0 });
    return "moved";
  }

  private close(element: Element): "moved" | "ended" {
    this.open.pop();
    if (element.streamed) this.calls.arguments('"');
    else if (element.kind === undefined) this.calls.arguments(this.scalar(element));
    else this.calls.arguments(element.kind === "array" ? "]" : "}");
    if (this.open.length > 0) return "moved";
    this.calls.end();
    return "ended";
  }

  private scalar({ text, schema: { types } }: Element): string {
    if (text.trim() === "" && !types.has("string")) {
      if (types.has("array")) return "[]";
      if (types.has("object")) return "{}";
      if (types.has("null")) return "null";
    }
    return jsonValue(text, types);
  }
}
