/** The events of a streamed response (spec 2.10). */
import type { RequestContext } from "../../../context.ts";
import { errorBody } from "../../../errors.ts";
import type { EndEvent, Generation } from "../../../generation.ts";
import { sse, streamResponse } from "../../../stream.ts";
import type { AlloyError } from "../../../../support/errors.ts";
import { type Echo, responseObject, type ResponseObject, statusOf } from "./object.ts";
import type { OutputBuilder, ResponseEvent } from "./output.ts";

export interface Reply {
  echo: Echo;
  output: OutputBuilder;
  /** Called with the finished response before its last event. */
  keep(response: ResponseObject): void;
}

export function streamReply(context: RequestContext, generation: Generation, reply: Reply): Response {
  let number = 0;
  const frame = (event: ResponseEvent) => {
    event.sequence_number = number++;
    return sse(event, event.type);
  };
  return streamResponse(context, frames(generation, reply, frame), {
    kind: "sse",
    heartbeat: () => ": ping\n\n",
    onError: (error) => {
      const response = responseObject(reply.echo, { status: "failed", output: reply.output.items, error: failure(error, context.id) });
      return frame({ type: "response.failed", response });
    },
  });
}

async function* frames(generation: Generation, reply: Reply, frame: (event: ResponseEvent) => string): AsyncGenerator<string> {
  const begun = responseObject(reply.echo, { status: "in_progress" });
  yield frame({ type: "response.created", response: begun });
  yield frame({ type: "response.in_progress", response: begun });
  for await (const event of replyEvents(generation, reply)) yield frame(event);
}

/** Everything between `in_progress` and the terminal event, and that one. */
async function* replyEvents(generation: Generation, { echo, output, keep }: Reply): AsyncGenerator<ResponseEvent> {
  for await (const event of generation.events) {
    if (event.type === "delta") yield* output.push(event.delta, event.logprobs);
    else {
      yield* output.finish(statusOf(event));
      const response = ended(echo, output, event);
      keep(response);
      yield { type: `response.${response.status}`, response };
    }
  }
}

/** The whole response of a generation, without its events. */
export async function wholeReply(generation: Generation, reply: Reply): Promise<ResponseObject> {
  let response: unknown;
  for await (const event of replyEvents(generation, reply)) response = event.response;
  return response as ResponseObject;
}

function ended(echo: Echo, output: OutputBuilder, end: EndEvent): ResponseObject {
  return responseObject(echo, { status: statusOf(end), output: output.items, end });
}

/** Codes that tell clients whether trying again can help: Codex repeats `server_error`, but neither of the others. */
function failure(error: AlloyError, requestId: string): { code: string; message: string } {
  const { error: body } = errorBody("openai", error, requestId) as { error: { code: string | null; message: string } };
  const known = body.code === "context_length_exceeded" || body.code === "server_is_overloaded";
  return { code: known ? body.code! : error.status < 500 ? "invalid_prompt" : "server_error", message: body.message };
}
