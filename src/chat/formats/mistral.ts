/** Mistral: `[TOOL_CALLS][{"name": ..., "arguments": {...}}, ...]`, and since 2025 `[TOOL_CALLS]name[ARGS]{...}`. */
import type { CallReader, CallSink, ReaderState, ToolFormat } from "./format.ts";
import { JsonCalls } from "./json-calls.ts";

export const mistral: ToolFormat = {
  name: "mistral",
  matches: (template) => template.includes("[TOOL_CALLS]"),
  openers: ["[TOOL_CALLS]"],
  closers: [],
  bare: false,
  reader: (_opener, calls) => new MistralCalls(calls),
  write: (calls) => `[TOOL_CALLS][${calls.map((c) => `{"name": ${JSON.stringify(c.name)}, "arguments": ${c.arguments}}`).join(", ")}]`,
};

/** Decides between the two forms by the first character, then leaves the reading to the JSON reader. */
class MistralCalls implements CallReader {
  private json: JsonCalls | undefined;
  private head = "";

  constructor(private readonly calls: CallSink) {}

  push(text: string): ReaderState {
    if (this.json) return this.json.push(text);
    this.head += text;
    const start = this.head.trimStart();
    if (start === "") return {};
    if (start[0] === "[" || start[0] === "{") {
      this.json = new JsonCalls(this.calls);
      return this.json.push(start);
    }
    const at = start.indexOf("{");
    if (at < 0) return {};
    const name = /^([\w.-]+)\s*(?:\[CALL_ID\][\w-]*\s*)?(?:\[ARGS\]\s*)?$/.exec(start.slice(0, at))?.[1];
    if (name === undefined) return { failed: this.head };
    this.json = new JsonCalls(this.calls, { name });
    return this.json.push(start.slice(at));
  }

  finish(): ReaderState {
    return this.json ? this.json.finish() : { failed: this.head };
  }
}
