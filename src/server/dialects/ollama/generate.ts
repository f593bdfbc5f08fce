/** POST /api/generate (spec 4.2). */
import { Type, type Static } from "@sinclair/typebox";
import type { ChatMessage } from "../../../chat/api.ts";
import type { GenerateRequest, ModelInfo, Prompt } from "../../../engine/api.ts";
import { AlloyError } from "../../../support/errors.ts";
import { readJson } from "../../body.ts";
import type { RequestContext } from "../../context.ts";
import { errorBody } from "../../errors.ts";
import { gapPrompt, requireInsert } from "../../fim.ts";
import { collect, type EndEvent, type Generation } from "../../generation.ts";
import { parseKeepAlive } from "../../keep-alive.ts";
import { imageError } from "../../media.ts";
import { resolveModel } from "../../names.ts";
import { OLLAMA_SAMPLING } from "../../sampling.ts";
import { jsonResponse, ndjson, streamResponse } from "../../stream.ts";
import { openTruncating } from "../../truncate.ts";
import { opt, validate } from "../../validate.ts";
import * as common from "./common.ts";
import { parseOptions } from "./options.ts";
import { checkTemplate } from "./template.ts";

export const Body = Type.Object({
  ...common.SharedFields,
  model: opt(Type.String()),
  prompt: opt(Type.String()),
  suffix: opt(Type.String()),
  system: opt(Type.String()),
  template: opt(Type.String()),
  images: opt(Type.Array(Type.String())),
  raw: opt(Type.Boolean()),
  context: opt(Type.Array(Type.Integer({ minimum: 0 }))),
});
type Body = Static<typeof Body>;

export async function generate(context: RequestContext): Promise<Response> {
  const body = validate(Body, await readJson(context));
  // Ollama looks the model up before it notices that none was named; its clients know the 404.
  if (!body.model) throw new AlloyError("model_not_found", "model '' not found", { data: { model: "" } });
  common.checkShared(body);
  if (body.raw && (body.template || body.system || body.context?.length)) {
    throw new AlloyError("invalid_value", "raw mode does not support template, system, or context", { param: "raw" });
  }
  const keepAlive = parseKeepAlive(body.keep_alive);
  const info = await resolveModel(context, body.model);
  common.requireCapability(info, body.model, "generate");
  const head = () => ({ model: body.model, created_at: new Date().toISOString() });
  if (!body.prompt && !body.suffix && !body.images?.length) {
    const reason = await common.loadOrUnload(context, info, keepAlive);
    return jsonResponse({ ...head(), response: "", done: true, done_reason: reason });
  }
  refuseUnsupported(body, info);
  const prompt = await promptOf(context, info, body);
  if (body._debug_render_only) {
    const { text } = await context.engine.tokenize(info.name, prompt);
    return jsonResponse({ ...head(), _debug_info: { rendered_template: text ?? "" } });
  }
  const options = parseOptions(body.options);
  const request: GenerateRequest = {
    id: context.id,
    model: info.name,
    prompt,
    sampling: options.sampling,
    samplingDefaults: OLLAMA_SAMPLING,
    maxTokens: options.maxTokens,
    stop: options.stop,
    constraint: common.constraintOf(body),
    logprobs: common.logprobCount(body),
    keepAlive,
    contextLimit: options.contextLimit,
  };
  // A gap has two ends: neither may go.
  const generation = await openTruncating(context, request, { truncate: (body.truncate ?? true) && !body.suffix, cut: true });
  const final = async (end: EndEvent) => ({
    done: true,
    done_reason: common.doneReason(end),
    ...(body.raw ? {} : { context: [...(await context.engine.tokenize(info.name, prompt)).ids, ...end.ids] }),
    ...common.metrics(end),
  });
  if (body.stream ?? true) {
    return streamResponse(context, lines(generation, head, final), {
      kind: "ndjson",
      heartbeat: () => ndjson({ ...head(), response: "", done: false }),
      onError: (error) => ndjson(errorBody("ollama", error, context.id)),
    });
  }
  const answer = await collect(generation.events);
  return jsonResponse({
    ...head(),
    response: answer.text,
    ...(answer.reasoning === "" ? {} : { thinking: answer.reasoning }),
    ...(body.logprobs ? { logprobs: answer.logprobs.map(common.logprobEntry) } : {}),
    ...(await final(answer.end)),
  });
}

async function* lines(generation: Generation, head: () => object, final: (end: EndEvent) => Promise<object>): AsyncGenerator<string> {
  for await (const event of generation.events) {
    if (event.type === "end") {
      yield ndjson({ ...head(), response: "", ...(await final(event)) });
      return;
    }
    const { delta } = event;
    if (delta.type === "reasoning") yield ndjson({ ...head(), response: "", thinking: delta.text, done: false });
    if (delta.type === "text") {
      const logprobs = event.logprobs ? { logprobs: event.logprobs.map(common.logprobEntry) } : {};
      yield ndjson({ ...head(), response: delta.text, done: false, ...logprobs });
    }
  }
}

function refuseUnsupported(body: Body, info: ModelInfo): void {
  if (body.suffix) {
    common.requireCapability(info, body.model!, "insert");
    requireInsert(info, "suffix");
  }
  if (body.images?.length) throw imageError("images", info.name);
}

/**
 * A gap between prompt and suffix; raw text as it is; otherwise the prompt as a user turn. `context`, the token ids of an earlier answer, goes in front: then the prompt is
 * handed over as ids.
 */
async function promptOf(context: RequestContext, info: ModelInfo, body: Body): Promise<Prompt> {
  const text = body.prompt ?? "";
  if (body.suffix) return gapPrompt(context, info, { before: text, after: body.suffix });
  if (body.raw) return { kind: "text", text };
  const thinking = common.ollamaThinking(info, body.model!, body.think);
  const messages: ChatMessage[] = [
    ...(body.system ? [{ role: "system" as const, content: body.system }] : []),
    { role: "user", content: text },
  ];
  checkTemplate(body.template);
  const turn: Prompt = { kind: "chat", messages, thinking, ...(body.template ? { template: body.template } : {}) };
  if (!body.context?.length) return turn;
  // The earlier answer's ids begin with what comes with the model.
  return { kind: "ids", ids: [...body.context, ...(await context.engine.tokenize(info.name, { ...turn, bare: true })).ids] };
}
