/** Scripts of the scripted model: steps, the pieces they come to, stop strings, made-up log-probabilities. */
import { createHash } from "node:crypto";
import type { ChatDelta } from "../../src/chat/api.ts";
import type { TokenLogprob } from "../../src/engine/api.ts";
import type { AlloyError } from "../../src/support/errors.ts";

/** One thing that the model does. */
export type Step =
  | { type: "text"; text: string }
  | { type: "reasoning"; text: string }
  /** `arguments` is sent in pieces; `cut` leaves the call unfinished. */
  | { type: "tool"; name: string; arguments: string; id?: string; cut?: boolean }
  /** Silence in the middle of an answer. */
  | { type: "wait"; ms: number }
  /** The engine fails here. */
  | { type: "error"; error: AlloyError }
  /** Ends as if the window were full. */
  | { type: "window" };

/** Tokens of a text: words with the blanks in front of them. */
export function words(text: string): string[] {
  return text.match(/\s*\S+|\s+$/g) ?? [];
}

/** What a step comes to: deltas, each at most one token, and events between them. */
export type Piece =
  | { kind: "delta"; delta: ChatDelta; token?: string }
  | { kind: "wait"; ms: number }
  | { kind: "error"; error: AlloyError }
  | { kind: "window" };

export function* pieces(steps: Step[]): Generator<Piece> {
  let index = 0;
  for (const step of steps) {
    if (step.type === "text" || step.type === "reasoning") {
      for (const word of words(step.text)) yield { kind: "delta", delta: { type: step.type, text: word }, token: word };
    } else if (step.type === "tool") {
      const id = step.id ?? `call_${createHash("sha256").update(`${index}${step.name}${step.arguments}`).digest("hex").slice(0, 12)}`;
      yield { kind: "delta", delta: { type: "tool_call_start", index, id, name: step.name }, token: step.name };
      for (let at = 0; at < step.arguments.length; at += 5) {
        const text = step.arguments.slice(at, at + 5);
        yield { kind: "delta", delta: { type: "tool_call_arguments", index, text }, token: text };
      }
      if (!step.cut) yield { kind: "delta", delta: { type: "tool_call_end", index } };
      index++;
    } else if (step.type === "wait") yield { kind: "wait", ms: step.ms };
    else if (step.type === "error") yield { kind: "error", error: step.error };
    else yield { kind: "window" };
  }
}

/** Holds back text that could be the beginning of a stop string. */
export class StopCutter {
  hit: string | undefined;
  #held = "";

  constructor(private readonly stops: string[]) {}

  push(text: string): string {
    this.#held += text;
    let first = Infinity;
    for (const stop of this.stops) {
      const at = this.#held.indexOf(stop);
      if (at >= 0 && at < first) [first, this.hit] = [at, stop];
    }
    if (this.hit !== undefined) {
      const out = this.#held.slice(0, first);
      this.#held = "";
      return out;
    }
    let keep = 0;
    for (const stop of this.stops) {
      for (let n = Math.min(stop.length - 1, this.#held.length); n > keep; n--) if (this.#held.endsWith(stop.slice(0, n))) keep = n;
    }
    const out = this.#held.slice(0, this.#held.length - keep);
    this.#held = this.#held.slice(this.#held.length - keep);
    return out;
  }

  flush(): string {
    const out = this.#held;
    this.#held = "";
    return out;
  }
}

/** Made up, but of the right shape: probabilities fall with rank, and the chosen token ranks first. */
export function logprob(id: number, token: string, alternatives: number): TokenLogprob {
  const entry = (rank: number) => {
    const text = rank === 0 ? token : `${token}~${rank}`;
    return { id: id + rank, token: text, bytes: [...new TextEncoder().encode(text)], logprob: -0.7 * (rank + 1) };
  };
  return { ...entry(0), top: Array.from({ length: alternatives }, (_, rank) => entry(rank)) };
}
