/** `truncate: true` of /api/chat: the oldest messages go until the prompt fits (spec 4.3). */
import type { GenerateRequest, Prompt } from "../../../engine/api.ts";
import type { ChatMessage } from "../../../chat/api.ts";
import { AlloyError } from "../../../support/errors.ts";
import type { RequestContext } from "../../context.ts";
import { openGeneration, type Generation } from "../../generation.ts";

type ChatPrompt = Extract<Prompt, { kind: "chat" }>;

/**
 * Opens the request; when the prompt is too long and `truncate` is on, again with as few messages dropped as fit. System messages and
 * the last message always stay. Sets `x-alloy-truncated` to the number of tokens cut.
 */
export async function openTruncating(
  context: RequestContext,
  request: GenerateRequest,
  prompt: ChatPrompt,
  truncate: boolean,
): Promise<Generation> {
  try {
    return await openGeneration(context, request);
  } catch (e) {
    const overflow = e instanceof AlloyError && e.code === "context_length_exceeded" ? e : undefined;
    const { tokens, window } = overflow?.data ?? {};
    if (!truncate || typeof tokens !== "number" || typeof window !== "number") throw e;
    const shorter = await fitting(context, request.model, prompt, window);
    if (!shorter) throw e;
    context.headers.set("x-alloy-truncated", String(tokens - shorter.tokens));
    return openGeneration(context, { ...request, prompt: shorter.prompt });
  }
}

/** Bisects the number of dropped messages: rendering and counting is what costs. */
async function fitting(context: RequestContext, model: string, prompt: ChatPrompt, window: number) {
  const droppable = prompt.messages.filter((m, i) => m.role !== "system" && i < prompt.messages.length - 1);
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
