/** Events of a streamed message (spec 3.5). */
import type { RequestContext } from "../../context.ts";
import { errorBody } from "../../errors.ts";
import type { DeltaEvent, Generation } from "../../generation.ts";
import { sse, streamResponse } from "../../stream.ts";
import { ending, messageHead, signature, usage, type MessageReply } from "./create.ts";
import { anthropicToolId } from "./tools.ts";

const PING = sse({ type: "ping" }, "ping");

export function streamMessage(context: RequestContext, generation: Generation, reply: MessageReply): Response {
  return streamResponse(context, events(generation, reply), {
    kind: "sse",
    heartbeat: () => PING,
    onError: (error) => sse(errorBody("anthropic", error, context.id), "error"),
  });
}

const event = (value: { type: string } & Record<string, unknown>) => sse(value, value.type);

async function* events(generation: Generation, reply: MessageReply): AsyncGenerator<string> {
  const prompt = { input_tokens: generation.start.promptTokens, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 };
  const message = { ...messageHead(reply), content: [], stop_reason: null, stop_sequence: null, usage: { ...prompt, output_tokens: 1 } };
  yield event({ type: "message_start", message });
  yield PING;
  const blocks = new BlockStream();
  for await (const item of generation.events) {
    if (item.type === "delta") {
      const frames = blocks.push(item);
      if (frames !== "") yield frames;
      continue;
    }
    yield blocks.end() + event({ type: "message_delta", delta: ending(item, blocks.called, reply), usage: usage(item) });
    yield event({ type: "message_stop" });
  }
}

/** Deltas to content blocks: one open at a time, indexes without gaps. */
class BlockStream {
  #index = -1;
  #open: "text" | "thinking" | "tool_use" | undefined;
  #thinking = "";
  #whole = 0;
  #started = 0;

  /** At least one call, and none cut off. */
  get called(): boolean {
    return this.#whole > 0 && this.#whole === this.#started;
  }

  push({ delta }: DeltaEvent): string {
    switch (delta.type) {
      case "text":
        if (delta.text === "") return "";
        return this.#ensure("text", { type: "text", text: "" }) + this.#delta({ type: "text_delta", text: delta.text });
      case "reasoning":
        if (delta.text === "") return "";
        this.#thinking += delta.text;
        return (
          this.#ensure("thinking", { type: "thinking", thinking: "", signature: "" }) +
          this.#delta({ type: "thinking_delta", thinking: delta.text })
        );
      case "tool_call_start":
        this.#started++;
        return this.#close() + this.#start("tool_use", { type: "tool_use", id: anthropicToolId(delta.id), name: delta.name, input: {} });
      case "tool_call_arguments":
        return this.#delta({ type: "input_json_delta", partial_json: delta.text });
      case "tool_call_end":
        this.#whole++;
        return this.#close();
    }
  }

  /** Closes what is open; an empty answer gets one empty text block. */
  end(): string {
    if (this.#index < 0) return this.#start("text", { type: "text", text: "" }) + this.#close();
    return this.#close();
  }

  #ensure(kind: "text" | "thinking", block: object): string {
    return this.#open === kind ? "" : this.#close() + this.#start(kind, block);
  }

  #start(kind: "text" | "thinking" | "tool_use", block: object): string {
    this.#open = kind;
    return event({ type: "content_block_start", index: ++this.#index, content_block: block });
  }

  #delta(delta: object): string {
    return event({ type: "content_block_delta", index: this.#index, delta });
  }

  #close(): string {
    if (!this.#open) return "";
    let frames = "";
    if (this.#open === "thinking") {
      frames = this.#delta({ type: "signature_delta", signature: signature(this.#thinking) });
      this.#thinking = "";
    }
    this.#open = undefined;
    return frames + event({ type: "content_block_stop", index: this.#index });
  }
}
