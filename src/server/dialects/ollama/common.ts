/** What /api/chat and /api/generate share. */
import { Type, type Static } from "@sinclair/typebox";
import type { Thinking } from "../../../chat/api.ts";
import type { Constraint, ModelInfo, TokenLogprob } from "../../../engine/api.ts";
import { AlloyError } from "../../../support/errors.ts";
import type { RequestContext } from "../../context.ts";
import type { EndEvent } from "../../generation.ts";
import { displayName } from "../../names.ts";
import { opt } from "../../validate.ts";
import { parseThink } from "./think.ts";

export const SharedFields = {
  stream: opt(Type.Boolean()),
  options: opt(Type.Record(Type.String(), Type.Unknown())),
  keep_alive: Type.Optional(Type.Unknown()),
  think: Type.Optional(Type.Unknown()),
  format: Type.Optional(Type.Unknown()),
  truncate: opt(Type.Boolean()),
  shift: opt(Type.Boolean()),
  logprobs: opt(Type.Boolean()),
  top_logprobs: opt(Type.Integer()),
  _debug_render_only: opt(Type.Boolean()),
};
const Shared = Type.Object(SharedFields);
type Shared = Static<typeof Shared>;

/** The checks that need no model. */
export function checkShared(body: Shared): void {
  const top = body.top_logprobs ?? 0;
  if (top < 0 || top > 20) throw new AlloyError("invalid_value", "top_logprobs must be between 0 and 20", { param: "top_logprobs" });
  const { format } = body;
  if (format === undefined || format === null || format === "") return;
  if (format !== "json" && (typeof format !== "object" || Array.isArray(format))) {
    throw new AlloyError("invalid_value", `invalid format: ${JSON.stringify(format)}; expected "json" or a valid JSON Schema object`, {
      param: "format",
    });
  }
}

/** What the answer must look like, of a checked body. */
export function constraintOf({ format }: Shared): Constraint | undefined {
  if (format === undefined || format === null || format === "") return undefined;
  const param = "format";
  return format === "json" ? { kind: "json", param } : { kind: "schema", schema: format, strict: false, param };
}

/** Alternatives per token to ask the engine for; undefined: no log-probabilities. */
export function logprobCount(body: Shared): number | undefined {
  return body.logprobs ? (body.top_logprobs ?? 0) : undefined;
}

/** Ollama refuses to switch thinking on for a model that cannot think; off passes. */
export function ollamaThinking(info: ModelInfo, requested: string, value: unknown): Thinking | undefined {
  const thinking = parseThink(value);
  if (info.capabilities.includes("thinking")) return thinking;
  if (thinking === undefined || thinking === "off") return undefined;
  throw new AlloyError("unsupported_capability", `"${requested}" does not support thinking`, { param: "think" });
}

export function requireCapability(info: ModelInfo, requested: string, what: "chat" | "generate" | "tools" | "insert"): void {
  const capability = what === "chat" || what === "generate" ? "completion" : what;
  if (info.capabilities.includes(capability)) return;
  const text =
    capability === "completion"
      ? `"${requested}" does not support ${what}`
      : `registry.ollama.ai/library/${displayName(requested)} does not support ${what}`;
  throw new AlloyError("unsupported_capability", text, { param: "model" });
}

/** A request without work: loads the model, or unloads it when `keep_alive` is 0. The word goes back as `done_reason`. */
export async function loadOrUnload(context: RequestContext, info: ModelInfo, keepAlive: number | undefined): Promise<"load" | "unload"> {
  if (keepAlive === 0) {
    await context.engine.unload(info.name);
    return "unload";
  }
  await context.engine.load(info.name, keepAlive);
  return "load";
}

/** The metrics of a final object; durations in nanoseconds. */
export function metrics({ usage, timings }: EndEvent): object {
  const ns = (ms: number) => Math.round(ms * 1e6);
  return {
    total_duration: ns(timings.total),
    load_duration: ns(timings.load),
    prompt_eval_count: usage.promptTokens,
    prompt_eval_duration: ns(timings.prefill),
    eval_count: usage.completionTokens,
    eval_duration: ns(timings.decode),
  };
}

export function doneReason(end: EndEvent): "stop" | "length" {
  return end.reason === "length" || end.reason === "context" ? "length" : "stop";
}

export function logprobEntry(entry: TokenLogprob): object {
  const one = (t: { token: string; bytes: number[]; logprob: number }) => ({
    token: t.token,
    logprob: Number.isFinite(t.logprob) ? t.logprob : -9999,
    bytes: t.bytes,
  });
  return { ...one(entry), top_logprobs: entry.top.map(one) };
}
