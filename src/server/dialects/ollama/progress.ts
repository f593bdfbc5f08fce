/** What pull and create share: work that reports its progress line by line, or only how it ended (spec 4.7, 4.9). */
import type { AlloyError } from "../../../support/errors.ts";
import type { RequestContext } from "../../context.ts";
import { errorBody } from "../../errors.ts";
import { eventsOf } from "../../events.ts";
import { jsonResponse, ndjson, streamResponse } from "../../stream.ts";

export interface StatusLine {
  status: string;
  digest?: string;
  total?: number;
  completed?: number;
}

/**
 * Runs `work`. Streamed, what fails before its first line is an error with its own status, and later a last line; not streamed, the last
 * line is the answer.
 */
export async function answerWithProgress(
  context: RequestContext,
  stream: boolean,
  work: (emit: (line: StatusLine) => void) => Promise<unknown>,
): Promise<Response> {
  if (!stream) {
    let last: StatusLine = { status: "success" };
    await work((line) => void (last = line));
    return jsonResponse(last);
  }
  const events = eventsOf(work);
  const first = await events.next();
  let last: StatusLine = first.done ? { status: "success" } : first.value;
  async function* lines(): AsyncGenerator<string> {
    yield ndjson(last);
    for await (last of events) yield ndjson(last);
  }
  return streamResponse(context, lines(), {
    kind: "ndjson",
    heartbeat: () => ndjson(last),
    onError: (error: AlloyError) => ndjson(errorBody("ollama", error, context.id)),
  });
}

/** Forgets a loaded model whose files were replaced or deleted; running requests keep what they have. */
export async function unloadStale(context: RequestContext, name: string): Promise<void> {
  // A model that is not loaded, or not installed any more, is no stale one.
  await context.engine.unload(name).catch(() => {});
}
