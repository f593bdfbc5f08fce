/** Deltas to output items and the events that announce them (spec 2.9, 2.10). */
import type { ChatDelta } from "../../../../chat/api.ts";
import type { TokenLogprob } from "../../../../engine/api.ts";
import { isJson } from "../../../json.ts";
import { randomId } from "../../../request-id.ts";
import { argumentsObject } from "../../../tool-json.ts";
import { logprobEntry } from "../format.ts";
import { seal } from "./items.ts";
import type { Returned, ToolSet } from "./tools.ts";

/** An event without its sequence number. */
export type ResponseEvent = { type: string } & Record<string, unknown>;
export type OutputItem = { id: string; type: string; status: "in_progress" | "completed" | "incomplete" } & Record<string, unknown>;

type Status = "completed" | "incomplete";
type Open =
  | { kind: "reasoning"; id: string; text: string }
  | { kind: "message"; id: string; text: string; logprobs: object[] }
  | { kind: "call"; id: string; callId: string; as: Returned; text: string; whole: boolean };

const PREFIX = { function: "fc_", custom: "ctc_", tool_search: "tsc_" };

export class OutputBuilder {
  /** Finished items, in order. */
  readonly items: OutputItem[] = [];
  #open: Open | undefined;
  /** `output_index` of the open item. */
  #index = -1;

  constructor(
    private readonly tools: ToolSet,
    private readonly include: { encrypted: boolean; logprobs: boolean },
  ) {}

  *push(delta: ChatDelta, logprobs: TokenLogprob[] = []): Generator<ResponseEvent> {
    switch (delta.type) {
      case "text":
        return yield* this.#text(delta.text, logprobs);
      case "reasoning":
        return yield* this.#reasoning(delta.text);
      case "tool_call_start":
        yield* this.#close("completed");
        return yield* this.#begin({
          kind: "call",
          id: randomId(PREFIX[this.tools.returned(delta.name).kind]),
          callId: delta.id,
          as: this.tools.returned(delta.name),
          text: "",
          whole: false,
        });
      case "tool_call_arguments":
        if (this.#open?.kind !== "call") return;
        this.#open.text += delta.text;
        if (this.#open.as.kind === "function") yield this.#event("response.function_call_arguments.delta", { delta: delta.text });
        return;
      case "tool_call_end":
        if (this.#open?.kind !== "call") return;
        this.#open.whole = true;
        yield* this.#close("completed");
    }
  }

  /** The end of the output; `incomplete` when it was cut off. An answer without anything is one empty message. */
  *finish(status: Status): Generator<ResponseEvent> {
    yield* this.#close(status);
    if (this.items.length > 0) return;
    yield* this.#begin({ kind: "message", id: randomId("msg_"), text: "", logprobs: [] });
    yield* this.#close(status);
  }

  *#text(text: string, logprobs: TokenLogprob[]): Generator<ResponseEvent> {
    if (text === "") return;
    if (this.#open?.kind !== "message") {
      yield* this.#close("completed");
      yield* this.#begin({ kind: "message", id: randomId("msg_"), text: "", logprobs: [] });
    }
    const open = this.#open as Extract<Open, { kind: "message" }>;
    const entries = this.include.logprobs ? logprobs.map(logprobEntry) : [];
    open.text += text;
    open.logprobs.push(...entries);
    yield this.#event("response.output_text.delta", { content_index: 0, delta: text, logprobs: entries });
  }

  *#reasoning(text: string): Generator<ResponseEvent> {
    if (text === "") return;
    if (this.#open?.kind !== "reasoning") {
      yield* this.#close("completed");
      yield* this.#begin({ kind: "reasoning", id: randomId("rs_"), text: "" });
    }
    (this.#open as Extract<Open, { kind: "reasoning" }>).text += text;
    yield this.#event("response.reasoning_summary_text.delta", { summary_index: 0, delta: text });
  }

  *#begin(open: Open): Generator<ResponseEvent> {
    this.#open = open;
    this.#index++;
    yield { type: "response.output_item.added", output_index: this.#index, item: begun(open) };
    if (open.kind === "reasoning") {
      yield this.#event("response.reasoning_summary_part.added", { summary_index: 0, part: { type: "summary_text", text: "" } });
    } else if (open.kind === "message") yield this.#event("response.content_part.added", { content_index: 0, part: textPart("", []) });
  }

  *#close(status: Status): Generator<ResponseEvent> {
    const open = this.#open;
    if (!open) return;
    // Clients run a call as soon as it is done: one that was cut off, or turned out to be text, is never done.
    const whole = open.kind !== "call" || open.whole || isJson(open.text);
    if (whole) {
      yield* this.#doneEvents(open);
      const item = finished(open, open.kind === "call" ? "completed" : status, this.include.encrypted);
      this.items.push(item);
      yield { type: "response.output_item.done", output_index: this.#index, item };
    }
    this.#open = undefined;
  }

  *#doneEvents(open: Open): Generator<ResponseEvent> {
    const { text } = open;
    if (open.kind === "reasoning") {
      yield this.#event("response.reasoning_summary_text.done", { summary_index: 0, text });
      yield this.#event("response.reasoning_summary_part.done", { summary_index: 0, part: { type: "summary_text", text } });
    } else if (open.kind === "message") {
      yield this.#event("response.output_text.done", { content_index: 0, text, logprobs: open.logprobs });
      yield this.#event("response.content_part.done", { content_index: 0, part: textPart(text, open.logprobs) });
    } else if (open.as.kind === "function") {
      yield this.#event("response.function_call_arguments.done", { name: open.as.name, arguments: text || "{}" });
    } else if (open.as.kind === "custom") {
      const input = customInput(text);
      if (input !== "") yield this.#event("response.custom_tool_call_input.delta", { delta: input });
      yield this.#event("response.custom_tool_call_input.done", { input });
    }
  }

  #event(type: string, fields: object): ResponseEvent {
    return { type, item_id: this.#open!.id, output_index: this.#index, ...fields };
  }
}

function textPart(text: string, logprobs: object[]): object {
  return { type: "output_text", text, annotations: [], logprobs };
}

/** An item as it is announced: everything but what is still to come. */
function begun(open: Open): OutputItem {
  const status = "in_progress";
  if (open.kind === "reasoning") return { id: open.id, type: "reasoning", status, summary: [] };
  if (open.kind === "message") return { id: open.id, type: "message", status, role: "assistant", content: [] };
  return call(open, status, { function: "", custom: "", tool_search: {} });
}

function finished(open: Open, status: Status, encrypted: boolean): OutputItem {
  const { id, text } = open;
  if (open.kind === "reasoning") {
    const sealed = encrypted ? { encrypted_content: seal(text) } : {};
    return { id, type: "reasoning", status, summary: [{ type: "summary_text", text }], ...sealed };
  }
  if (open.kind === "message") return { id, type: "message", status, role: "assistant", content: [textPart(text, open.logprobs)] };
  return call(open, status, { function: text || "{}", custom: customInput(text), tool_search: argumentsObject(text) });
}

function call(
  { id, callId, as }: Extract<Open, { kind: "call" }>,
  status: OutputItem["status"],
  value: { function: string; custom: string; tool_search: object },
): OutputItem {
  const head = { id, status, call_id: callId };
  if (as.kind === "tool_search") return { ...head, type: "tool_search_call", execution: "client", arguments: value.tool_search };
  const name = { name: as.name, ...(as.namespace === undefined ? {} : { namespace: as.namespace }) };
  if (as.kind === "custom") return { ...head, type: "custom_tool_call", ...name, input: value.custom };
  return { ...head, type: "function_call", ...name, arguments: value.function };
}

/** A custom tool's one argument as raw text; what is not of that form goes out as the model wrote it. */
function customInput(text: string): string {
  const { input } = argumentsObject(text);
  return typeof input === "string" ? input : text;
}
