/** POST /v1/responses and /v1/responses/input_tokens (spec 2.7-2.11). */
import { AlloyError } from "../../../../support/errors.ts";
import { readJson } from "../../../body.ts";
import type { RequestContext } from "../../../context.ts";
import { resolveModel } from "../../../names.ts";
import { randomId } from "../../../request-id.ts";
import { jsonResponse } from "../../../stream.ts";
import { openTruncating } from "../../../truncate.ts";
import { validate } from "../../../validate.ts";
import { requireCompletion } from "../request.ts";
import { type Echo, type ResponseObject, unixTime } from "./object.ts";
import { OutputBuilder } from "./output.ts";
import { beforeLastTurn, Body, generateRequest, type ParsedPrompt, parsePrompt, wantsLogprobs } from "./request.ts";
import { type Reply, streamReply, wholeReply } from "./stream.ts";

export async function createResponse(context: RequestContext): Promise<Response> {
  const body = validate(Body, await readJson(context));
  const info = await resolveModel(context, body.model);
  requireCompletion(info);
  const parsed = parsePrompt(context, info, body);
  const { prompt, tools } = parsed;
  const request = generateRequest(context, info, body, prompt);
  const generation = await openTruncating(context, request, {
    truncate: body.truncation === "auto",
    droppable: beforeLastTurn,
    singleCall: body.parallel_tool_calls === false,
  }).catch((e: unknown) => {
    throw inputError(e);
  });
  const encrypted = (body.include ?? []).includes("reasoning.encrypted_content");
  const reply: Reply = {
    echo: echoOf(body),
    output: new OutputBuilder(tools, { encrypted, logprobs: wantsLogprobs(body) }),
    keep: (response) => {
      if (body.store !== false) store(context, parsed, response);
    },
  };
  if (body.stream) return streamReply(context, generation, reply);
  return jsonResponse(await wholeReply(generation, reply));
}

/** The count that a response to the same body reports, without a KV slot. */
export async function responseInputTokens(context: RequestContext): Promise<Response> {
  const body = validate(Body, await readJson(context));
  const info = await resolveModel(context, body.model);
  requireCompletion(info);
  const { prompt } = parsePrompt(context, info, body);
  const { ids } = await context.engine.tokenize(info.name, prompt);
  return jsonResponse({ object: "response.input_tokens", input_tokens: ids.length });
}

function echoOf(body: Body): Echo {
  return {
    id: randomId("resp_"),
    object: "response",
    created_at: unixTime(),
    model: body.model,
    instructions: body.instructions ?? null,
    metadata: body.metadata ?? {},
    parallel_tool_calls: body.parallel_tool_calls ?? true,
    temperature: body.temperature ?? 1,
    top_p: body.top_p ?? 1,
    top_logprobs: body.top_logprobs ?? 0,
    tool_choice: body.tool_choice ?? "auto",
    tools: body.tools ?? [],
    truncation: body.truncation ?? "disabled",
    text: { format: body.text?.format ?? { type: "text" } },
    reasoning: { effort: body.reasoning?.effort ?? null, summary: body.reasoning?.summary ?? null },
    max_output_tokens: body.max_output_tokens ?? null,
    max_tool_calls: body.max_tool_calls ?? null,
    previous_response_id: body.previous_response_id ?? null,
    store: body.store ?? true,
    background: false,
    service_tier: "default",
    user: body.user ?? null,
    prompt_cache_key: body.prompt_cache_key ?? null,
    safety_identifier: body.safety_identifier ?? null,
  };
}

function store(context: RequestContext, { input, history }: ParsedPrompt, response: ResponseObject): void {
  const size = JSON.stringify(input).length + JSON.stringify(response).length;
  context.state.responses.put(response.id, { response, input, history, output: response.output, size });
}

/** The engine knows no fields: here the conversation is `input`. */
function inputError(e: unknown): unknown {
  if (!(e instanceof AlloyError) || e.code !== "context_length_exceeded") return e;
  return new AlloyError(e.code, e.message, { hint: e.hint, data: e.data, param: "input", cause: e });
}
