/** POST /v1/completions: raw continuation, no chat template (spec 2.4). */
import { Type, type Static } from "@sinclair/typebox";
import type { GenerateRequest, ModelInfo, Prompt, TokenLogprob } from "../../../engine/api.ts";
import { readJson } from "../../body.ts";
import type { RequestContext } from "../../context.ts";
import { errorBody, fieldError } from "../../errors.ts";
import { gapPrompt, requireInsert } from "../../fim.ts";
import { collect, merge, openAll, type Answer, type EndEvent, type Generation } from "../../generation.ts";
import { parseKeepAlive } from "../../keep-alive.ts";
import { resolveModel } from "../../names.ts";
import { randomId } from "../../request-id.ts";
import { jsonResponse, sse, streamResponse } from "../../stream.ts";
import { opt, validate } from "../../validate.ts";
import { DONE } from "./chat-stream.ts";
import { constraintOf } from "./constraint.ts";
import { chunkWriter, envelope, finite, timingsOf, usageOf } from "./format.ts";
import { openaiSampling, requireCompletion, SharedFields, stopStrings } from "./request.ts";

const Ids = Type.Array(Type.Integer({ minimum: 0 }));
export const Body = Type.Object({
  ...SharedFields,
  prompt: Type.Union([Type.String(), Type.Array(Type.String()), Ids, Type.Array(Ids)], {
    description: "a string, an array of strings, an array of token ids or an array of such arrays",
  }),
  max_tokens: opt(Type.Integer({ minimum: 0 })),
  suffix: opt(Type.String()),
  echo: opt(Type.Boolean()),
  best_of: opt(Type.Integer({ minimum: 1, maximum: 20 })),
  logprobs: opt(Type.Integer({ minimum: 0, maximum: 5 })),
});
type Body = Static<typeof Body>;

/** Prompts times choices that one request may ask for. */
const MAX_CHOICES = 128;

export async function completions(context: RequestContext): Promise<Response> {
  const body = validate(Body, await readJson(context));
  const n = body.n ?? 1;
  const candidates = body.best_of ?? n;
  if (candidates < n) throw fieldError("invalid_value", "best_of", `must be at least n (${n}), not ${candidates}`);
  if (body.stream && candidates > n) throw fieldError("invalid_value", "best_of", "cannot be combined with 'stream'");
  if (body.echo && typeof body.logprobs === "number") {
    throw fieldError("unsupported_feature", "logprobs", "together with 'echo' is not supported yet", "Ask for one of the two.");
  }
  const prompts = promptsOf(body.prompt);
  if (prompts.length * candidates > MAX_CHOICES) {
    throw fieldError(
      "invalid_value",
      "prompt",
      `asks for ${prompts.length * candidates} completions; at most ${MAX_CHOICES} fit in one request`,
    );
  }
  const info = await resolveModel(context, body.model);
  requireCompletion(info);
  if (body.suffix) {
    requireInsert(info, "suffix");
    if (body.echo) throw fieldError("unsupported_feature", "suffix", "together with 'echo' is not supported", "Ask for one of the two.");
    for (const [p, prompt] of prompts.entries()) {
      if (prompt.kind !== "text") throw fieldError("invalid_type", "prompt", "must be text where there is a suffix, not token ids");
      prompts[p] = await gapPrompt(context, info, { before: prompt.text, after: body.suffix });
    }
  }
  const requests = prompts.flatMap((prompt, p) => Array.from({ length: candidates }, (_, i) => request(context, info, body, prompt, p, i)));
  const generations = await openAll(context, requests);
  const reply: Reply = {
    id: randomId("cmpl-"),
    model: body.model,
    echo: body.echo ?? false,
    logprobs: typeof body.logprobs === "number",
    includeUsage: body.stream_options?.include_usage ?? false,
    perPrompt: candidates,
  };
  if (body.stream) return streamCompletions(context, generations, reply);
  const answers = await Promise.all(generations.map((g) => collect(g.events)));
  const chosen = prompts.flatMap((_, p) => best(indexed(answers).slice(p * candidates, (p + 1) * candidates), n));
  return jsonResponse({
    ...envelope(reply.id, "text_completion", reply.model, context.settings.version),
    choices: chosen.map(({ answer, at }, index) => {
      const prefix = reply.echo ? (generations[at].start.prompt ?? "") : "";
      return {
        text: prefix + answer.text,
        index,
        logprobs: reply.logprobs ? legacyLogprobs(answer.logprobs, prefix.length) : null,
        finish_reason: finishReason(answer.end),
      };
    }),
    usage: usageOf(
      answers.map((a) => a.end),
      candidates,
    ),
    timings: timingsOf(answers[0].end),
  });
}

interface Reply {
  id: string;
  model: string;
  echo: boolean;
  logprobs: boolean;
  includeUsage: boolean;
  perPrompt: number;
}

function promptsOf(prompt: Body["prompt"]): Prompt[] {
  if (typeof prompt === "string") return [{ kind: "text", text: prompt }];
  if (prompt.length === 0) throw fieldError("invalid_value", "prompt", "must not be empty");
  if (isIds(prompt)) return [{ kind: "ids", ids: prompt }];
  return (prompt as (string | number[])[]).map((p, i) => {
    if (typeof p === "string") return { kind: "text", text: p };
    if (p.length === 0) throw fieldError("invalid_value", `prompt[${i}]`, "must not be empty");
    return { kind: "ids", ids: p };
  });
}

function isIds(prompt: Exclude<Body["prompt"], string>): prompt is number[] {
  return typeof prompt[0] === "number";
}

function request(context: RequestContext, info: ModelInfo, body: Body, prompt: Prompt, p: number, i: number): GenerateRequest {
  const sampling = openaiSampling(body);
  if (sampling.seed !== undefined) sampling.seed += i;
  const ranked = (body.best_of ?? 1) > (body.n ?? 1);
  return {
    id: `${context.id}-${p}-${i}`,
    model: info.name,
    prompt,
    sampling,
    maxTokens: body.max_tokens ?? undefined,
    stop: stopStrings(body.stop),
    constraint: constraintOf(body),
    ignoreEos: body.ignore_eos ?? undefined,
    logprobs: body.logprobs ?? (ranked ? 0 : undefined),
    echo: body.echo ?? undefined,
    keepAlive: parseKeepAlive(body.keep_alive),
  };
}

const indexed = (answers: Answer[]) => answers.map((answer, at) => ({ answer, at }));

/** The `n` candidates with the highest mean log-probability per token, best first; all of them, in order, when none is to be dropped. */
function best(candidates: { answer: Answer; at: number }[], n: number): { answer: Answer; at: number }[] {
  if (candidates.length === n) return candidates;
  const mean = (a: Answer) =>
    a.logprobs.length === 0 ? -Infinity : a.logprobs.reduce((s, t) => s + finite(t.logprob), 0) / a.logprobs.length;
  return candidates.toSorted((a, b) => mean(b.answer) - mean(a.answer)).slice(0, n);
}

/** The legacy form: parallel arrays. Offsets count characters of the choice's text. */
function legacyLogprobs(tokens: TokenLogprob[], offset: number): object {
  const offsets = tokens.map((t) => {
    const at = offset;
    offset += t.token.length;
    return at;
  });
  return {
    tokens: tokens.map((t) => t.token),
    token_logprobs: tokens.map((t) => finite(t.logprob)),
    top_logprobs: tokens.map((t) => Object.fromEntries(t.top.map((o) => [o.token, finite(o.logprob)]))),
    text_offset: offsets,
  };
}

function finishReason(end: EndEvent): "stop" | "length" {
  return end.reason === "length" || end.reason === "context" ? "length" : "stop";
}

function streamCompletions(context: RequestContext, generations: Generation[], reply: Reply): Response {
  return streamResponse(context, chunks(context, generations, reply), {
    kind: "sse",
    heartbeat: () => ": ping\n\n",
    onError: (error) => sse(errorBody("openai", error, context.id)) + DONE,
  });
}

async function* chunks(context: RequestContext, generations: Generation[], reply: Reply): AsyncGenerator<string> {
  const write = chunkWriter(envelope(reply.id, "text_completion", reply.model, context.settings.version));
  const usage = reply.includeUsage ? { usage: null } : {};
  const chunk = (index: number, text: string, logprobs: object | null = null, reason: string | null = null) =>
    sse(write({ choices: [{ text, index, logprobs, finish_reason: reason }], ...usage }));

  const offsets = generations.map(() => 0);
  const ends: EndEvent[] = [];
  if (reply.echo) {
    for (const [index, { start }] of generations.entries()) {
      offsets[index] = start.prompt?.length ?? 0;
      if (start.prompt) yield chunk(index, start.prompt);
    }
  }
  for await (const { index, value } of merge(generations.map((g) => g.events))) {
    if (value.type === "end") {
      ends[index] = value;
      yield chunk(index, "", null, finishReason(value));
    } else if (value.delta.type === "text") {
      yield chunk(index, value.delta.text, reply.logprobs ? legacyLogprobs(value.logprobs ?? [], offsets[index]) : null);
      offsets[index] += value.delta.text.length;
    }
  }
  if (reply.includeUsage) yield sse(write({ choices: [], usage: usageOf(ends, reply.perPrompt), timings: timingsOf(ends[0]) }));
  yield DONE;
}
