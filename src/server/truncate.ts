/** Dropping the oldest messages until a prompt fits: `truncate` of /api/chat (spec 4.3), `truncation: "auto"` of /v1/responses (2.7). */
import type { GenerateRequest, Prompt } from "../engine/api.ts";
import type { ChatMessage } from "../chat/api.ts";
import { AlloyError } from "../support/errors.ts";
import type { RequestContext } from "./context.ts";
import { type Generation, type GenerationOptions, openGeneration } from "./generation.ts";

type ChatPrompt = Extract<Prompt, { kind: "chat" }>;

export interface Truncation extends GenerationOptions {
  truncate: boolean;
  /** Messages that may go, oldest first. Default: all but system messages and the last. */
  droppable?: (messages: ChatMessage[]) => ChatMessage[];
}

/**
 * Opens the request; when the prompt is too long and `truncate` is on, again with as few messages dropped as fit. Sets
 * `x-alloy-truncated` to the number of tokens cut.
 */
export async function openTruncating(
  context: RequestContext,
  request: GenerateRequest,
  prompt: ChatPrompt,
  options: Truncation,
): Promise<Generation> {
  try {
    return await openGeneration(context, request, options);
  } catch (e) {
    const overflow = e instanceof AlloyError && e.code === "context_length_exceeded" ? e : undefined;
    const { tokens, window } = overflow?.data ?? {};
    if (!options.truncate || typeof tokens !== "number" || typeof window !== "number") throw e;
    const droppable = (options.droppable ?? oldMessages)(prompt.messages);
    const shorter = await fitting(context, request.model, prompt, droppable, window);
    if (!shorter) throw e;
    context.headers.set("x-alloy-truncated", String(tokens - shorter.tokens));
    return openGeneration(context, { ...request, prompt: shorter.prompt }, options);
  }
}

const oldMessages = (messages: ChatMessage[]): ChatMessage[] => messages.filter((m, i) => m.role !== "system" && i < messages.length - 1);

/** Bisects the number of dropped messages: rendering and counting is what costs. */
async function fitting(context: RequestContext, model: string, prompt: ChatPrompt, droppable: ChatMessage[], window: number) {
  const attempt = async (drop: number) => {
    const gone = new Set<ChatMessage>(droppable.slice(0, drop));
    const messages = prompt.messages.filter((m) => !gone.has(m));
    const { ids } = await context.engine.tokenize(model, { ...prompt, messages });
    return { prompt: { ...prompt, messages }, tokens: ids.length };
  };
  let low = 1;
  let high = droppable.length;
  let best: Awaited<ReturnType<typeof attempt>> | undefined;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const tried = await attempt(middle);
    if (tried.tokens < window) {
      best = tried;
      high = middle - 1;
    } else low = middle + 1;
  }
  return best;
}
