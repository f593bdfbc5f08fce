/** Between dialects and engine: admission before headers, several choices at once, and events gathered into one answer. */
import type { ChatDelta } from "../chat/api.ts";
import type { GenerateEvent, GenerateRequest, TokenLogprob } from "../engine/api.ts";
import { AlloyError } from "../support/errors.ts";
import type { RequestContext } from "./context.ts";
import { isJson } from "./json.ts";
import { metered } from "./metrics/meter.ts";

export type StartEvent = Extract<GenerateEvent, { type: "start" }>;
export type DeltaEvent = Extract<GenerateEvent, { type: "delta" }>;
export type EndEvent = Extract<GenerateEvent, { type: "end" }>;

/** An admitted request. `events` are its deltas followed by exactly one `end`; anything else is thrown as AlloyError. */
export interface Generation {
  start: StartEvent;
  events: AsyncGenerator<DeltaEvent | EndEvent>;
}

export interface GenerationOptions {
  /** Drop tool calls after the first (`parallel_tool_calls: false`). */
  singleCall?: boolean;
}

/** Hands a request to the engine and waits until it is admitted and tokenised, so that errors until then keep their HTTP status. */
export function openGeneration(context: RequestContext, request: GenerateRequest, options: GenerationOptions = {}): Promise<Generation> {
  context.state.metrics.choices(1);
  return open(context, request, options);
}

async function open(context: RequestContext, asked: GenerateRequest, options: GenerationOptions): Promise<Generation> {
  context.agree({ timeoutMs: context.settings.timeoutMs });
  const request = { ...asked, client: context.client, priority: context.terms.priority };
  const meter = context.state.metrics.begin(request);
  context.generations.push(meter);
  const source = metered(context.engine.generate(request, context.signal), meter);
  context.own(source);
  try {
    for (;;) {
      const next = await source.next();
      if (next.done) throw new AlloyError("internal", "the engine ended a request before it started");
      if (next.value.type === "start") return { start: next.value, events: follow(context, source, options) };
      if (next.value.type === "end") throw ended(context);
    }
  } catch (e) {
    throw reasonOf(context, e);
  }
}

/** Opens several requests; when one is refused the others are cancelled, also those that still wait for admission. */
export async function openAll(
  context: RequestContext,
  requests: GenerateRequest[],
  options: GenerationOptions = {},
): Promise<Generation[]> {
  const refuse = (e: unknown): never => {
    context.abort(AlloyError.from(e));
    throw e;
  };
  context.state.metrics.choices(requests.length);
  return Promise.all(requests.map((r) => open(context, r, options).catch(refuse)));
}

async function* follow(
  context: RequestContext,
  source: AsyncIterableIterator<GenerateEvent>,
  options: GenerationOptions,
): AsyncGenerator<DeltaEvent | EndEvent> {
  try {
    for (;;) {
      const next = await source.next();
      if (next.done) throw ended(context);
      const event = next.value;
      if (event.type === "delta") {
        if (!(options.singleCall && "index" in event.delta && event.delta.index > 0)) yield event;
      } else if (event.type === "end") {
        if (event.reason === "cancelled") throw ended(context);
        context.disown(source);
        // `end` is the last event, but only its return lets an engine written as a generator leave its slot.
        await source.return?.();
        yield event;
        return;
      }
    }
  } catch (e) {
    throw reasonOf(context, e);
  }
}

function ended(context: RequestContext): AlloyError {
  if (context.signal.aborted) return AlloyError.from(context.signal.reason);
  return new AlloyError("engine_died", "the engine ended the request early", { hint: "Send the request again." });
}

/** An engine that was aborted reports that; what the client should hear is why (`shutting_down`). */
function reasonOf(context: RequestContext, thrown: unknown): AlloyError {
  return context.signal.aborted ? AlloyError.from(context.signal.reason) : AlloyError.from(thrown);
}

/** Events of several generations in order of arrival. When it is left early the request's release ends the generations. */
export async function* merge<T>(sources: AsyncGenerator<T>[]): AsyncGenerator<{ index: number; value: T }> {
  if (sources.length === 1) {
    for await (const value of sources[0]) yield { index: 0, value };
    return;
  }
  const next = (index: number) => sources[index].next().then((result) => ({ index, result }));
  const waiting = new Map(sources.map((_, index) => [index, next(index)]));
  try {
    while (waiting.size > 0) {
      const { index, result } = await Promise.race(waiting.values());
      if (result.done) waiting.delete(index);
      else {
        waiting.set(index, next(index));
        yield { index, value: result.value };
      }
    }
  } finally {
    for (const promise of waiting.values()) promise.catch(() => {});
  }
}

/** A stretch of one kind in an answer, in generation order. */
export type Block =
  | { type: "text"; text: string }
  | { type: "reasoning"; text: string }
  | { type: "tool"; id: string; name: string; arguments: string; complete: boolean };

export type ToolBlock = Extract<Block, { type: "tool" }>;

/** A whole answer. */
export interface Answer {
  blocks: Block[];
  text: string;
  reasoning: string;
  /** Calls whose arguments are whole; a call cut off by the token limit is left out unless what is there parses. */
  calls: ToolBlock[];
  /** A call was cut off. */
  cutCall: boolean;
  /** Of text tokens only. */
  logprobs: TokenLogprob[];
  end: EndEvent;
}

/** Runs a generation to its end. */
export async function collect(events: AsyncGenerator<DeltaEvent | EndEvent>): Promise<Answer> {
  const blocks: Block[] = [];
  const tools = new Map<number, ToolBlock>();
  const logprobs: TokenLogprob[] = [];
  for await (const event of events) {
    if (event.type === "delta") {
      append(blocks, tools, event.delta);
      if (event.delta.type === "text" && event.logprobs) logprobs.push(...event.logprobs);
      continue;
    }
    const calls = [...tools.values()];
    const whole = calls.filter((c) => c.complete || isJson(c.arguments));
    return {
      blocks: blocks.filter((b) => b.type !== "tool" || whole.includes(b)),
      text: joined(blocks, "text"),
      reasoning: joined(blocks, "reasoning"),
      calls: whole,
      cutCall: whole.length < calls.length,
      logprobs,
      end: event,
    };
  }
  throw new AlloyError("internal", "a generation ended without its end event");
}

function append(blocks: Block[], tools: Map<number, ToolBlock>, delta: ChatDelta): void {
  if (delta.type === "text" || delta.type === "reasoning") {
    const last = blocks.at(-1);
    if (last?.type === delta.type) last.text += delta.text;
    else if (delta.text !== "") blocks.push({ type: delta.type, text: delta.text });
  } else if (delta.type === "tool_call_start") {
    const tool: ToolBlock = { type: "tool", id: delta.id, name: delta.name, arguments: "", complete: false };
    tools.set(delta.index, tool);
    blocks.push(tool);
  } else {
    const tool = tools.get(delta.index);
    if (!tool) throw new AlloyError("internal", `the engine sent part of tool call ${delta.index} before its start`);
    if (delta.type === "tool_call_arguments") tool.arguments += delta.text;
    else tool.complete = true;
  }
}

function joined(blocks: Block[], type: "text" | "reasoning"): string {
  return blocks.map((b) => (b.type === type ? b.text : "")).join("");
}
