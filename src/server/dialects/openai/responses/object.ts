/** The response object and its usage (spec 2.9). */
import type { EndEvent } from "../../../generation.ts";
import type { OutputItem } from "./output.ts";

/** What the object repeats of its request, made once per response. */
export type Echo = { id: string; object: "response"; created_at: number } & Record<string, unknown>;

/** How far a response is. */
export type Progress =
  | { status: "in_progress" }
  | { status: "completed" | "incomplete"; output: OutputItem[]; end: EndEvent }
  | { status: "failed"; output: OutputItem[]; error: { code: string; message: string } };

export type ResponseObject = Echo & { status: Progress["status"]; output: OutputItem[] };

export function responseObject(echo: Echo, progress: Progress): ResponseObject {
  const { status } = progress;
  const ended = "end" in progress ? progress.end : undefined;
  return {
    ...echo,
    status,
    completed_at: status === "completed" ? unixTime() : null,
    output: "output" in progress ? progress.output : [],
    error: "error" in progress ? progress.error : null,
    incomplete_details: status === "incomplete" ? { reason: "max_output_tokens" } : null,
    usage: ended ? usageOf(ended) : null,
  };
}

/** A response that ran into its token limit or the window's end is incomplete. */
export function statusOf(end: EndEvent): "completed" | "incomplete" {
  return end.reason === "length" || end.reason === "context" ? "incomplete" : "completed";
}

export function unixTime(): number {
  return Math.floor(Date.now() / 1000);
}

function usageOf({ usage }: EndEvent): object {
  return {
    input_tokens: usage.promptTokens,
    input_tokens_details: { cached_tokens: usage.cachedTokens, cache_write_tokens: 0 },
    output_tokens: usage.completionTokens,
    output_tokens_details: { reasoning_tokens: usage.reasoningTokens },
    total_tokens: usage.promptTokens + usage.completionTokens,
  };
}
