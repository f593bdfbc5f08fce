/** Chat-completion chunks (spec 2.3). */
import type { ChatDelta } from "../../../chat/api.ts";
import type { RequestContext } from "../../context.ts";
import { errorBody } from "../../errors.ts";
import { merge, type DeltaEvent, type EndEvent, type Generation } from "../../generation.ts";
import { sse, streamResponse } from "../../stream.ts";
import { finishReason, toolCall, type ChatReply } from "./chat.ts";
import { chunkWriter, envelope, logprobEntry, timingsOf, usageOf } from "./format.ts";

export const DONE = sse("[DONE]");

export function streamChat(context: RequestContext, generations: Generation[], reply: ChatReply): Response {
  return streamResponse(context, chunks(context, generations, reply), {
    kind: "sse",
    heartbeat: () => ": ping\n\n",
    onError: (error) => sse(errorBody("openai", error, context.id)) + DONE,
  });
}

async function* chunks(context: RequestContext, generations: Generation[], reply: ChatReply): AsyncGenerator<string> {
  const write = chunkWriter(envelope(reply.id, "chat.completion.chunk", reply.model, context.settings.version));
  const usage = reply.includeUsage ? { usage: null } : {};
  const chunk = (
    index: number,
    delta: object,
    rest: { logprobs?: object | null; finish_reason?: string | null } = {},
    extra: object = {},
  ) => sse(write({ choices: [{ index, delta, logprobs: null, finish_reason: null, ...rest }], ...usage, ...extra }));

  const choices = generations.map(() => new ChoiceStream(reply));
  const ends: EndEvent[] = [];
  let open = generations.length;
  for (const index of generations.keys()) yield chunk(index, { role: "assistant", content: "" });
  for await (const { index, value } of merge(generations.map((g) => g.events))) {
    if (value.type === "delta") {
      for (const delta of choices[index].push(value.delta)) yield chunk(index, delta, { logprobs: chunkLogprobs(value, reply) });
      continue;
    }
    ends[index] = value;
    open--;
    const extra = open === 0 && !reply.includeUsage ? { timings: timingsOf(value) } : {};
    yield chunk(index, {}, { finish_reason: finishReason(value.reason, choices[index].called, reply.tools) }, extra);
  }
  if (reply.includeUsage) yield sse(write({ choices: [], usage: usageOf(ends, ends.length), timings: timingsOf(ends[0]) }));
  yield DONE;
}

function chunkLogprobs(event: DeltaEvent, reply: ChatReply): object | null {
  if (!reply.logprobs || event.delta.type !== "text" || !event.logprobs) return null;
  return { content: event.logprobs.map(logprobEntry), refusal: null };
}

/** Neutral deltas of one choice to OpenAI's. */
class ChoiceStream {
  called = false;
  /** Custom calls go out whole: their `input` is inside the arguments' JSON. */
  readonly #custom = new Map<number, { id: string; name: string; arguments: string }>();

  constructor(private readonly reply: ChatReply) {}

  push(delta: ChatDelta): object[] {
    const { tools } = this.reply;
    switch (delta.type) {
      case "text":
        return [{ content: delta.text }];
      case "reasoning":
        return [{ reasoning_content: delta.text, reasoning: delta.text }];
      case "tool_call_start": {
        this.called = true;
        if (tools.custom.has(delta.name)) {
          this.#custom.set(delta.index, { id: delta.id, name: delta.name, arguments: "" });
          return [];
        }
        if (tools.legacy) return [{ function_call: { name: delta.name, arguments: "" } }];
        return [{ tool_calls: [{ index: delta.index, id: delta.id, type: "function", function: { name: delta.name, arguments: "" } }] }];
      }
      case "tool_call_arguments": {
        const custom = this.#custom.get(delta.index);
        if (custom) {
          custom.arguments += delta.text;
          return [];
        }
        if (tools.legacy) return [{ function_call: { arguments: delta.text } }];
        // Neither id, type nor name here: openai-node takes their repetition for another call.
        return [{ tool_calls: [{ index: delta.index, function: { arguments: delta.text } }] }];
      }
      case "tool_call_end": {
        const custom = this.#custom.get(delta.index);
        return custom ? [{ tool_calls: [{ index: delta.index, ...toolCall(custom, tools) }] }] : [];
      }
    }
  }
}
