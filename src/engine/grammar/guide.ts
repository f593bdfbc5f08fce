/** What holds one request to its grammar and to its budget of reasoning: free while the model reasons within it, then a mask per token. */
import type { ReasoningMarkers } from "../../chat/reasoning.ts";
import type { Tokenizer } from "../../tokenizer/api.ts";
import type { RemoteMatcher } from "./slot.ts";

export interface GuideOptions {
  /** Undefined: the answer is free. */
  matcher?: RemoteMatcher;
  tokenizer: Tokenizer;
  vocabSize: number;
  reasoning?: ReasoningMarkers;
  /** The prompt has opened reasoning. */
  startsInReasoning: boolean;
  /** The model may open reasoning itself. */
  mayReason: boolean;
  /** Most tokens of reasoning: then its closing marker is all that may come. */
  budget?: number;
  /** Tokens of nothing but white space, a bit each, and after how many in a row another kind has to come: small models get lost in it. */
  blank?: Int32Array;
  mostBlanks?: number;
  /** Whether a grammar's text may have a token in it; undefined: tokens are always drawn, even where there is no choice. */
  usable?(token: number): boolean;
}

export class Guide {
  private state: "start" | "reasoning" | "held";
  /** Tokens of reasoning so far. */
  private reasoned = 0;
  /** Tokens that close reasoning. */
  private readonly closing: readonly number[];
  /** The last text of the reasoning, in which its end may be. */
  private tail = "";
  private ends = false;
  /** Tokens of white space at the end. */
  private blanks = 0;
  /** Token by which the model may open reasoning. */
  private readonly opener: number | undefined;

  constructor(private readonly o: GuideOptions) {
    const { reasoning, startsInReasoning, mayReason, tokenizer } = o;
    this.opener = reasoning && mayReason ? tokenizer.id(reasoning.open) : undefined;
    this.closing = reasoning ? tokenizer.encode(reasoning.close, { addSpecial: false }) : [];
    this.state = startsInReasoning && reasoning ? "reasoning" : "start";
  }

  /** Whether the text may end here; known once `mask` was asked for. */
  get complete(): boolean {
    return this.ends;
  }

  /** Whether the answer is held to a grammar, which also says where it ends. */
  get strict(): boolean {
    return this.o.matcher !== undefined;
  }

  /** The tokens that may be drawn next, a bit each; undefined: all. */
  async mask(): Promise<Int32Array | undefined> {
    const { matcher, tokenizer, vocabSize, blank, mostBlanks = Infinity, budget = Infinity } = this.o;
    if (this.state === "reasoning" && this.reasoned >= budget) {
      const id = this.closing[Math.min(this.reasoned - budget, this.closing.length - 1)];
      const only = new Int32Array(Math.ceil(vocabSize / 32));
      only[id >> 5] = 1 << (id & 31);
      return only;
    }
    if (!matcher) return undefined;
    if (this.state === "reasoning") {
      const all = new Int32Array(Math.ceil(vocabSize / 32)).fill(-1);
      // Reasoning that ends the answer would leave it without what was asked for.
      for (const id of tokenizer.endTokens) all[id >> 5] &= ~(1 << (id & 31));
      return all;
    }
    const mask = (await matcher.state()).mask.slice();
    if (blank && this.blanks >= mostBlanks && mask.some((word, i) => (word & ~blank[i]) !== 0)) {
      for (let i = 0; i < mask.length; i++) mask[i] &= ~blank[i];
    }
    this.ends = [...tokenizer.endTokens].some((id) => (mask[id >> 5] >> (id & 31)) & 1);
    if (this.state === "start" && this.opener !== undefined) mask[this.opener >> 5] |= 1 << (this.opener & 31);
    return mask;
  }

  /** Takes the token that was drawn. */
  accept(token: number): void {
    const { matcher, reasoning, tokenizer, blank } = this.o;
    if (this.state === "reasoning") {
      const { close } = reasoning!;
      this.reasoned++;
      this.tail = (this.tail + new TextDecoder().decode(tokenizer.bytes(token))).slice(-close.length - 64);
      if (this.tail.includes(close)) this.state = "held";
      return;
    }
    if (this.state === "start" && token === this.opener) {
      this.state = "reasoning";
      return;
    }
    this.state = "held";
    this.blanks = blank && (blank[token >> 5] >> (token & 31)) & 1 ? this.blanks + 1 : 0;
    matcher?.accept([token]);
  }

  /**
   * Tokens that have to come next, as the tokenizer writes their text behind `last`. The last of them is left to the model, because what
   * follows may belong to it; none where the tokenizer would have written `last` otherwise.
   */
  async forced(last: number): Promise<readonly number[]> {
    const { matcher, tokenizer, usable } = this.o;
    const choice = this.state === "reasoning" || (this.state === "start" && this.opener !== undefined);
    if (!matcher || !usable || choice) return [];
    // Half a character at the end is none.
    const [text] = (await matcher.state()).forced.split("\ufffd");
    if (text.length < 2) return [];
    const before = new TextDecoder().decode(tokenizer.bytes(last));
    const [first, ...tokens] = tokenizer.encode(before + text, { addSpecial: false }).slice(0, -1);
    if (first !== last) return [];
    const bytes = new TextEncoder().encode(text);
    let at = 0;
    const fits = (id: number): boolean => {
      const own = tokenizer.bytes(id);
      const same = own.every((b, i) => b === bytes[at + i]);
      at += own.length;
      return same && usable(id);
    };
    const wrong = tokens.findIndex((id) => !fits(id));
    return wrong === -1 ? tokens : tokens.slice(0, wrong);
  }

  /** Takes tokens that had to come. */
  force(tokens: readonly number[]): void {
    this.state = "held";
    this.blanks = 0;
    this.o.matcher!.accept(tokens);
  }

  free(): void {
    this.o.matcher?.free();
  }
}
