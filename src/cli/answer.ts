/** One generation shown as it comes: used by `alloy run` for single answers and in chats. */
import type { ChatMessage, ToolCall, Thinking } from "../chat/api.ts";
import type { Engine, FinishReason, GenerateRequest, SamplingParams, Timings, Usage } from "../engine/api.ts";
import { AlloyError } from "../support/errors.ts";
import type { Context } from "./context.ts";

export interface AnswerOptions {
  model: string;
  messages: ChatMessage[];
  sampling: Partial<SamplingParams>;
  maxTokens?: number;
  thinking?: Thinking;
  signal?: AbortSignal;
  /** Print nothing while it runs. */
  quiet?: boolean;
}

export interface Answer {
  text: string;
  reasoning: string;
  toolCalls: ToolCall[];
  reason: FinishReason;
  usage?: Usage;
  timings?: Timings;
  /** Seed that was used: giving it again repeats the answer. */
  seed?: number;
}

/**
 * Runs one request and prints it as it is generated: the answer on standard output, thinking (dim) on standard error so that a
 * pipe carries the answer alone. A request cancelled through `signal` resolves with what came until then.
 */
export async function answer(engine: Engine, options: AnswerOptions, { io, style }: Context): Promise<Answer> {
  const request: GenerateRequest = {
    id: crypto.randomUUID(),
    model: options.model,
    prompt: { kind: "chat", messages: options.messages, thinking: options.thinking },
    sampling: options.sampling,
    maxTokens: options.maxTokens,
  };
  const result: Answer = { text: "", reasoning: "", toolCalls: [], reason: "cancelled" };
  const show = options.quiet ? undefined : new Display(io, style);
  try {
    for await (const event of engine.generate(request, options.signal)) {
      if (event.type === "start") result.seed = event.seed;
      else if (event.type === "end") {
        result.reason = event.reason;
        result.usage = event.usage;
        result.timings = event.timings;
      } else if (event.type === "delta") {
        const { delta } = event;
        if (delta.type === "text") {
          result.text += delta.text;
          show?.text(delta.text);
        } else if (delta.type === "reasoning") {
          result.reasoning += delta.text;
          show?.reasoning(delta.text);
        } else if (delta.type === "tool_call_start") result.toolCalls[delta.index] = { id: delta.id, name: delta.name, arguments: "" };
        else if (delta.type === "tool_call_arguments") result.toolCalls[delta.index].arguments += delta.text;
      }
    }
  } catch (error) {
    if (!(options.signal?.aborted && AlloyError.from(error).code === "cancelled")) throw error;
  } finally {
    show?.end();
  }
  return result;
}

/** Keeps thinking and answer apart on the terminal. */
class Display {
  private state: "nothing" | "reasoning" | "text" = "nothing";
  private atLineStart = true;

  constructor(
    private readonly io: Context["io"],
    private readonly style: Context["style"],
  ) {}

  text(text: string): void {
    if (this.state === "reasoning") this.io.err(this.atLineStart ? "\n" : "\n\n");
    if (this.state !== "text") text = text.trimStart();
    if (text === "") return;
    this.state = "text";
    this.io.out(text);
    this.atLineStart = text.endsWith("\n");
  }

  reasoning(text: string): void {
    if (this.state !== "reasoning") text = text.trimStart();
    if (text === "") return;
    this.state = "reasoning";
    this.io.err(this.style.dim(text));
    this.atLineStart = text.endsWith("\n");
  }

  end(): void {
    if (this.atLineStart) return;
    if (this.state === "reasoning") this.io.err("\n");
    else this.io.out("\n");
  }
}

/** "12 prompt tokens (0 cached) in 8 ms, 1500.0 tokens/s; 7 tokens in 25 ms, 280.0 tokens/s": what `--verbose` prints. */
export function timingLine({ usage, timings, reason, seed }: Answer): string {
  if (usage === undefined || timings === undefined) return "";
  const fresh = usage.promptTokens - usage.cachedTokens;
  const rate = (tokens: number, ms: number) => (ms > 0 ? `${((tokens * 1000) / ms).toFixed(1)} tokens/s` : "- tokens/s");
  const ms = (t: number) => `${t.toFixed(t < 10 ? 1 : 0)} ms`;
  const parts = [
    `load ${ms(timings.load)}`,
    `prompt ${usage.promptTokens} tokens (${usage.cachedTokens} cached) in ${ms(timings.prefill)}, ${rate(fresh, timings.prefill)}`,
    `answer ${usage.completionTokens} tokens in ${ms(timings.decode)}, ${rate(usage.completionTokens, timings.decode)}`,
    `total ${ms(timings.total)}, finished: ${reason}, seed ${seed}`,
  ];
  return parts.join("\n") + "\n";
}
