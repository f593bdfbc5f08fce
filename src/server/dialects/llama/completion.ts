/** POST /completion and /infill: llama-server's own raw completion, and the same for a gap in a text (spec 5). */
import { Type, type Static } from "@sinclair/typebox";
import type { GenerateRequest, ModelInfo, Prompt, SamplingParams } from "../../../engine/api.ts";
import { readJson } from "../../body.ts";
import type { RequestContext } from "../../context.ts";
import { errorBody, fieldError } from "../../errors.ts";
import { fillsGaps, gapPrompt } from "../../fim.ts";
import { type Answer, collect, type EndEvent, type Generation, merge, openAll } from "../../generation.ts";
import { notSupported } from "../../not-built.ts";
import { jsonResponse, sse, streamResponse } from "../../stream.ts";
import { opt, validate } from "../../validate.ts";
import { constraintOf } from "../openai/constraint.ts";
import { logprobEntry, timingsOf } from "../openai/format.ts";
import { openaiSampling, requireCompletion, SharedFields, stopStrings } from "../openai/request.ts";
import { modelOf } from "./model.ts";

const { model: _model, n: _n, stream_options: _options, response_format: _format, logit_bias: _bias, ...Fields } = SharedFields;
const Id = Type.Integer({ minimum: 0 });
/** One prompt: a text, token ids, or both in turn. */
const Mixed = Type.Array(Type.Union([Type.String(), Id]));
const Common = Type.Object({
  ...Fields,
  model: opt(Type.String()),
  n_predict: opt(Type.Integer({ minimum: -1 })),
  n_probs: opt(Type.Integer({ minimum: 0, maximum: 100 })),
  return_tokens: opt(Type.Boolean()),
});
type Common = Static<typeof Common>;
export const Body = Type.Object({
  ...Common.properties,
  prompt: Type.Union([Type.String(), Mixed, Type.Array(Type.Union([Type.String(), Mixed]))], {
    description: "a string, an array of strings and token ids, or an array of such prompts",
  }),
});
type Body = Static<typeof Body>;
export const InfillBody = Type.Object({
  ...Common.properties,
  input_prefix: Type.String(),
  input_suffix: Type.String(),
  input_extra: opt(Type.Array(Type.Object({ filename: opt(Type.String()), text: Type.String() }), { maxItems: 1024 })),
  /** What is written of the gap already. */
  prompt: opt(Type.String()),
});

/** Prompts that one request may hold. */
const MAX_PROMPTS = 128;

/** What llama-server takes where neither the request nor the model says anything. */
const DEFAULTS: Partial<SamplingParams> = { temperature: 0.8, topK: 40, topP: 0.95, minP: 0.05 };

/** What an answer's shape depends on. */
interface Reply {
  model: string;
  /** Per prompt. */
  requests: GenerateRequest[];
  generations: Generation[];
  returnTokens: boolean;
  /** The request held a list of prompts: the answer is a list. */
  list: boolean;
}

export async function completion(context: RequestContext): Promise<Response> {
  const body = validate(Body, await readJson(context));
  const info = await modelOf(context, body.model);
  requireCompletion(info);
  const { prompts, list } = await promptsOf(context, info.name, body.prompt);
  return complete(context, body, info, prompts, list);
}

/** A model without the tokens for it answers 501, as llama-server does. */
export async function infill(context: RequestContext): Promise<Response> {
  const body = validate(InfillBody, await readJson(context));
  const info = await modelOf(context, body.model);
  requireCompletion(info);
  if (!fillsGaps(info)) {
    return notSupported(
      context,
      `filling a gap with '${info.name}', whose file names no fill-in-the-middle tokens,`,
      "Take a model that was made for code.",
    );
  }
  const gap = { before: body.input_prefix, after: body.input_suffix, begun: body.prompt ?? "", extra: body.input_extra ?? [] };
  return complete(context, body, info, [await gapPrompt(context, info, gap)], false);
}

async function complete(context: RequestContext, body: Common, info: ModelInfo, prompts: Prompt[], list: boolean): Promise<Response> {
  const limit = body.n_predict ?? -1;
  const requests = prompts.map((prompt, i): GenerateRequest => ({
    id: `${context.id}-${i}`,
    model: info.name,
    prompt,
    sampling: openaiSampling({ ...body, model: info.name }),
    samplingDefaults: DEFAULTS,
    maxTokens: limit < 0 ? undefined : limit,
    stop: stopStrings(body.stop),
    constraint: constraintOf(body),
    ignoreEos: body.ignore_eos ?? undefined,
    logprobs: body.n_probs || undefined,
    // The answer repeats the prompt.
    echo: true,
  }));
  const generations = await openAll(context, requests);
  const reply: Reply = { model: body.model ?? info.name, requests, generations, returnTokens: body.return_tokens ?? false, list };
  if (body.stream) {
    return streamResponse(context, frames(reply), {
      kind: "sse",
      heartbeat: () => ": ping\n\n",
      onError: (error) => sse(errorBody("openai", error, context.id)),
    });
  }
  const answers = await Promise.all(generations.map((g) => collect(g.events)));
  const results = answers.map((answer, index) => ({ ...ended(reply, index, answer.text, answer.end), ...probabilities(answer) }));
  return jsonResponse(list ? results : results[0]);
}

async function* frames(reply: Reply): AsyncGenerator<string> {
  const said = reply.generations.map(() => 0);
  for await (const { index, value } of merge(reply.generations.map((g) => g.events))) {
    if (value.type === "end") yield sse(ended(reply, index, "", value));
    else if (value.delta.type === "text") {
      said[index]++;
      const { promptTokens } = reply.generations[index].start;
      const entries = value.logprobs ? { completion_probabilities: value.logprobs.map(logprobEntry) } : {};
      yield sse({
        index,
        content: value.delta.text,
        tokens: [],
        stop: false,
        id_slot: -1,
        tokens_predicted: said[index],
        tokens_evaluated: promptTokens,
        ...entries,
      });
    }
  }
}

function ended({ model, requests, generations, returnTokens }: Reply, index: number, content: string, end: EndEvent): object {
  const { sampling, maxTokens, stop, ignoreEos } = requests[index];
  const full = end.reason === "length" || end.reason === "context";
  return {
    index,
    content,
    tokens: returnTokens ? end.ids : [],
    id_slot: -1,
    stop: true,
    model,
    tokens_predicted: end.usage.completionTokens,
    tokens_evaluated: end.usage.promptTokens,
    tokens_cached: end.usage.cachedTokens,
    truncated: false,
    stop_type: full ? "limit" : end.stop !== undefined ? "word" : "eos",
    stopping_word: end.stop ?? "",
    prompt: generations[index].start.prompt ?? "",
    generation_settings: {
      seed: generations[index].start.seed,
      ...sampling,
      n_predict: maxTokens ?? -1,
      stop: stop ?? [],
      ignore_eos: ignoreEos ?? false,
    },
    timings: timingsOf(end),
  };
}

function probabilities(answer: Answer): object {
  return answer.logprobs.length > 0 ? { completion_probabilities: answer.logprobs.map(logprobEntry) } : {};
}

/** A list of nothing but strings, or of lists, holds several prompts; numbers make it one. */
async function promptsOf(context: RequestContext, model: string, prompt: Body["prompt"]): Promise<{ prompts: Prompt[]; list: boolean }> {
  if (typeof prompt === "string") return { prompts: [{ kind: "text", text: prompt }], list: false };
  if (prompt.length === 0) throw fieldError("invalid_value", "prompt", "must not be empty");
  if (prompt.length > MAX_PROMPTS && prompt.every((p) => typeof p !== "number")) {
    throw fieldError("invalid_value", "prompt", `holds ${prompt.length} prompts; at most ${MAX_PROMPTS} fit in one request`);
  }
  if (prompt.some((p) => typeof p === "number")) {
    return { prompts: [await mixed(context, model, prompt as (string | number)[])], list: false };
  }
  const prompts = (prompt as (string | (string | number)[])[]).map((p): Prompt | Promise<Prompt> =>
    typeof p === "string" ? { kind: "text", text: p } : mixed(context, model, p),
  );
  return { prompts: await Promise.all(prompts), list: true };
}

/** Texts and token ids as the ids of one prompt. Only a text at the beginning gets the tokens that begin a prompt. */
async function mixed(context: RequestContext, model: string, parts: (string | number)[]): Promise<Prompt> {
  const ids = await Promise.all(
    parts.map(async (part, i) => {
      if (typeof part === "number") return [part];
      return (await context.engine.tokenize(model, { kind: "text", text: part, addSpecial: i === 0 })).ids;
    }),
  );
  return { kind: "ids", ids: ids.flat() };
}
