/** Writes one answer: the stream's events into its turn. */
import { streamChat, type StreamEvent } from "./api.ts";
import type { AssistantTurn } from "./types.ts";

export function newAnswer(model: string): AssistantTurn {
  return { role: "assistant", model, text: "", reasoning: "", calls: [], state: "streaming" };
}

/**
 * Fills `turn` until the answer ends; `changed` is called after each event. Never rejects for what the server or the user did: the turn's state tells.
 * Resolves to the error where there was one.
 */
export async function writeAnswer(turn: AssistantTurn, body: object, signal: AbortSignal, changed: () => void): Promise<unknown> {
  const clock = new Clock(turn);
  try {
    let state: AssistantTurn["state"] = "done";
    for await (const event of streamChat(body, signal)) {
      if (event.type === "finish" && event.reason === "length") state = "length";
      apply(turn, event);
      clock.tick(event);
      changed();
    }
    turn.state = state;
    return undefined;
  } catch (error) {
    turn.state = signal.aborted ? "stopped" : "failed";
    if (signal.aborted) return undefined;
    turn.error = error instanceof Error ? error.message : String(error);
    return error;
  } finally {
    clock.stop();
    changed();
  }
}

function apply(turn: AssistantTurn, event: StreamEvent): void {
  switch (event.type) {
    case "text":
      turn.text += event.text;
      break;
    case "reasoning":
      turn.reasoning += event.text;
      break;
    case "call":
      turn.calls[event.index] = { id: event.id, name: event.name, arguments: "" };
      break;
    case "arguments":
      if (turn.calls[event.index]) turn.calls[event.index].arguments += event.text;
      break;
    case "stats": {
      const { type: _, ...stats } = event;
      turn.stats = stats;
      break;
    }
    case "finish":
      break;
  }
}

/** Time of the reasoning, and tokens per second while the server's own figures are not there yet (it sends about one token per event). */
class Clock {
  #first: number | undefined;
  #events = 0;
  #reasoningSince: number | undefined;

  constructor(private readonly turn: AssistantTurn) {}

  tick({ type }: StreamEvent): void {
    if (type === "finish" || type === "stats") return;
    const now = performance.now();
    this.#first ??= now;
    this.#events++;
    if (type === "reasoning") this.#reasoningSince ??= now;
    else this.#endReasoning(now);
    const seconds = (now - this.#first) / 1000;
    const tokensPerSecond = seconds > 0.2 ? (this.#events - 1) / seconds : 0;
    this.turn.stats = { promptTokens: 0, cachedTokens: 0, tokens: this.#events, tokensPerSecond };
  }

  stop(): void {
    this.#endReasoning(performance.now());
  }

  #endReasoning(now: number): void {
    if (this.#reasoningSince === undefined || this.turn.reasoningMs !== undefined) return;
    this.turn.reasoningMs = now - this.#reasoningSince;
  }
}
