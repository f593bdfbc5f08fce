/** What holds one request to its grammar: free while the model reasons, then a mask per token. */
import type { ReasoningMarkers } from "../../chat/reasoning.ts";
import { AlloyError } from "../../support/errors.ts";
import type { Tokenizer } from "../../tokenizer/api.ts";
import type { Matcher } from "./xgrammar.ts";

export interface GuideOptions {
  matcher: Matcher;
  tokenizer: Tokenizer;
  vocabSize: number;
  reasoning?: ReasoningMarkers;
  /** The prompt has opened reasoning. */
  startsInReasoning: boolean;
  /** The model may open reasoning itself. */
  mayReason: boolean;
}

export class Guide {
  private state: "start" | "reasoning" | "held";
  /** The last text of the reasoning, in which its end may be. */
  private tail = "";
  private ends = false;
  /** Token by which the model may open reasoning. */
  private readonly opener: number | undefined;

  constructor(private readonly o: GuideOptions) {
    const { reasoning, startsInReasoning, mayReason, tokenizer } = o;
    this.opener = reasoning && mayReason ? tokenizer.id(reasoning.open) : undefined;
    this.state = startsInReasoning && reasoning ? "reasoning" : "start";
  }

  /** Whether the text may end here; known once `mask` was asked for. */
  get complete(): boolean {
    return this.ends;
  }

  /** The tokens that may be drawn next, a bit each. */
  async mask(): Promise<Int32Array> {
    const { matcher, tokenizer, vocabSize } = this.o;
    if (this.state === "reasoning") {
      const all = new Int32Array(Math.ceil(vocabSize / 32)).fill(-1);
      // Reasoning that ends the answer would leave it without what was asked for.
      for (const id of tokenizer.endTokens) all[id >> 5] &= ~(1 << (id & 31));
      return all;
    }
    const mask = await matcher.mask();
    this.ends = [...tokenizer.endTokens].some((id) => (mask[id >> 5] >> (id & 31)) & 1);
    if (this.state === "start" && this.opener !== undefined) mask[this.opener >> 5] |= 1 << (this.opener & 31);
    return mask;
  }

  /** Takes the token that was drawn. */
  accept(token: number): void {
    const { matcher, reasoning, tokenizer } = this.o;
    if (this.state === "reasoning") {
      const { close } = reasoning!;
      this.tail = (this.tail + new TextDecoder().decode(tokenizer.bytes(token))).slice(-close.length - 64);
      if (this.tail.includes(close)) this.state = "held";
      return;
    }
    if (this.state === "start" && token === this.opener) {
      this.state = "reasoning";
      return;
    }
    this.state = "held";
    if (!matcher.accept(token)) throw new AlloyError("internal", `token ${token} does not follow the grammar that it was drawn under`);
  }

  free(): void {
    this.o.matcher.free();
  }
}
