/**
 * Making prompts fit: the oldest messages go (`truncate` of /api/chat, spec 4.3; `truncation: "auto"` of /v1/responses, 2.7), and where that
 * is not enough the beginning of a text (`truncate` of /api/chat and /api/generate).
 */
import type { GenerateRequest, Prompt } from "../engine/api.ts";
import type { ChatMessage } from "../chat/api.ts";
import { AlloyError } from "../support/errors.ts";
import type { RequestContext } from "./context.ts";
import { type Generation, type GenerationOptions, openGeneration } from "./generation.ts";

export interface Truncation extends GenerationOptions {
  truncate: boolean;
  /** Messages that may go, oldest first. Default: all but system messages and the last. */
  droppable?: (messages: ChatMessage[]) => ChatMessage[];
  /** Whether the last message, or a prompt without messages, may lose its beginning. */
  cut?: boolean;
}

/** A prompt and its number of tokens. */
interface Sized {
  prompt: Prompt;
  tokens: number;
}

/**
 * Opens the request; when the prompt is too long and `truncate` is on, again with as few messages dropped as fit, or as little text. Sets
 * `x-alloy-truncated` to the number of tokens cut.
 */
export async function openTruncating(context: RequestContext, request: GenerateRequest, options: Truncation): Promise<Generation> {
  try {
    return await openGeneration(context, request, options);
  } catch (e) {
    const overflow = e instanceof AlloyError && e.code === "context_length_exceeded" ? e : undefined;
    const { tokens, window } = overflow?.data ?? {};
    if (!options.truncate || typeof tokens !== "number" || typeof window !== "number") throw e;
    const shorter = await new Shortening(context, request, window).fit(request.prompt, options);
    if (!shorter) throw e;
    context.headers.set("x-alloy-truncated", String(tokens - shorter.tokens));
    return openGeneration(context, { ...request, prompt: shorter.prompt }, options);
  }
}

const oldMessages = (messages: ChatMessage[]): ChatMessage[] => messages.filter((m, i) => m.role !== "system" && i < messages.length - 1);

class Shortening {
  constructor(
    private readonly context: RequestContext,
    private readonly request: GenerateRequest,
    private readonly window: number,
  ) {}

  async fit(prompt: Prompt, { droppable = oldMessages, cut = false }: Truncation): Promise<Sized | undefined> {
    if (prompt.kind !== "chat") return cut ? this.cut(prompt) : undefined;
    const old = droppable(prompt.messages);
    const without = (count: number): Prompt => {
      const gone = new Set<ChatMessage>(old.slice(0, count));
      return { ...prompt, messages: prompt.messages.filter((m) => !gone.has(m)) };
    };
    const fewer = await this.drop(without, old.length);
    return fewer ?? (cut ? this.cut(without(old.length)) : undefined);
  }

  /** Bisects the number of dropped messages: rendering and counting is what costs. */
  private async drop(without: (count: number) => Prompt, most: number): Promise<Sized | undefined> {
    let low = 1;
    let high = most;
    let best: Sized | undefined;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const tried = await this.sized(without(middle));
      if (tried.tokens < this.window) {
        best = tried;
        high = middle - 1;
      } else low = middle + 1;
    }
    return best;
  }

  /** Cuts the beginning off, so that the answer has a quarter of the window, or what it may take at most. */
  private async cut(prompt: Prompt): Promise<Sized | undefined> {
    const quarter = this.window >> 2;
    const wanted = this.window - Math.max(1, Math.min(this.request.maxTokens ?? quarter, quarter));
    const size = sizeOf(prompt);
    const [whole, rest] = [await this.sized(prompt), await this.sized(ending(prompt, 0))];
    if (rest.tokens >= wanted) return undefined;
    let keep = Math.floor((size * (wanted - rest.tokens)) / Math.max(1, whole.tokens - rest.tokens));
    // Some stretches have more tokens than others.
    for (let tries = 0; tries < 20; tries++, keep = Math.floor(keep * 0.9)) {
      const tried = await this.sized(ending(prompt, keep));
      if (tried.tokens <= wanted) return tried;
    }
    return rest;
  }

  private async sized(prompt: Prompt): Promise<Sized> {
    return { prompt, tokens: (await this.context.engine.tokenize(this.request.model, prompt)).ids.length };
  }
}

/** Characters or ids of what may be cut. */
function sizeOf(prompt: Prompt): number {
  if (prompt.kind === "chat") return prompt.messages.at(-1)?.content.length ?? 0;
  return prompt.kind === "text" ? prompt.text.length : prompt.ids.length;
}

/** The prompt with the last `keep` characters or ids of what may be cut. */
function ending(prompt: Prompt, keep: number): Prompt {
  if (prompt.kind === "ids") return { ...prompt, ids: prompt.ids.slice(prompt.ids.length - keep) };
  // Not the second half of a character.
  const tail = (text: string) => text.slice(text.length - keep).replace(/^[\uDC00-\uDFFF]/, "");
  if (prompt.kind === "text") return { ...prompt, text: tail(prompt.text) };
  const last = prompt.messages.at(-1)!;
  return { ...prompt, messages: [...prompt.messages.slice(0, -1), { ...last, content: tail(last.content) }] };
}
