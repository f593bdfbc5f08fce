/** The guides of one model's requests: which grammar a request asks for, and the pool that compiles it. */
import type { ChatFormat } from "../../chat/api.ts";
import { AlloyError } from "../../support/errors.ts";
import type { Tokenizer } from "../../tokenizer/api.ts";
import type { GenerateRequest } from "../api.ts";
import { forcesCalls, isSingleCall, mayReason, offeredTools } from "../prompts.ts";
import { buildGrammar, type CallsRequest } from "./build.ts";
import { Guide } from "./guide.ts";
import { CompileProblem, GrammarPool, type PoolOptions } from "./pool.ts";
import type { RemoteMatcher } from "./slot.ts";
import { blanksOf, type Vocabulary, vocabularyOf } from "./vocabulary.ts";

export interface GuidesOptions extends Partial<Pick<PoolOptions, "timeoutMs" | "memory" | "startWorker">> {
  tokenizer: Tokenizer;
  vocabSize: number;
  /** The model's own format, whose control tokens grammars may use. */
  chat: ChatFormat | undefined;
  onCompiled?(seconds: number): void;
}

/** Tokens of white space in a row, where they mean nothing and where text may stand. */
const JSON_BLANKS = 6;
const TEXT_BLANKS = 24;
const DEFAULTS = { timeoutMs: 2000, memory: 512 * 2 ** 20 };

export class Guides {
  /** Made when the first grammar comes. */
  private pool: GrammarPool | undefined;
  private vocabulary: Vocabulary | undefined;
  private blank: Int32Array | undefined;

  constructor(private readonly o: GuidesOptions) {}

  /**
   * What holds a request to the grammar and the budget of reasoning that it asks for; undefined when it asks for neither. Throws what is
   * wrong with the grammar.
   * @param startsInReasoning tells whether the prompt has opened reasoning
   */
  make(request: GenerateRequest, chat: ChatFormat | undefined, startsInReasoning: () => boolean): Promise<Guide | undefined> | undefined {
    const { prompt, constraint } = request;
    const calls = prompt.kind === "chat" && chat ? this.calls(request, chat) : undefined;
    const budget = prompt.kind === "chat" && chat?.reasoning ? prompt.thinkingBudget : undefined;
    const held = constraint !== undefined || calls?.mode === "forced" || calls?.mode === "strict";
    if (!held && budget === undefined) return undefined;
    return this.guide(request, chat, held ? calls : undefined, held, budget, startsInReasoning);
  }

  close(): void {
    this.pool?.close();
  }

  private async guide(
    { prompt, constraint }: GenerateRequest,
    chat: ChatFormat | undefined,
    calls: CallsRequest | undefined,
    held: boolean,
    budget: number | undefined,
    startsInReasoning: () => boolean,
  ): Promise<Guide | undefined> {
    const { tokenizer, vocabSize } = this.o;
    const messages = chat?.grammar.messages;
    const reasons = prompt.kind === "chat" && startsInReasoning();
    const build = (loose: boolean): string | undefined =>
      held ? buildGrammar({ constraint, calls, messages, reasoning: chat?.reasoning, startsInReasoning: reasons, loose }) : undefined;
    const ebnf = build(false);
    // In formats whose calls have no mark there is nothing to hold.
    if (ebnf === undefined && budget === undefined) return undefined;
    const matcher = ebnf === undefined ? undefined : await this.matcher(ebnf, build, constraint);
    try {
      const json = constraint ? constraint.kind === "json" || constraint.kind === "schema" : calls?.mode === "forced";
      this.blank ??= blanksOf(tokenizer, vocabSize);
      // Where answers are made of messages the grammar has reasoning in it.
      const inside = messages !== undefined && matcher !== undefined;
      return new Guide({
        matcher,
        tokenizer,
        vocabSize,
        reasoning: inside ? undefined : chat?.reasoning,
        startsInReasoning: reasons,
        mayReason: prompt.kind === "chat" && chat !== undefined && mayReason(prompt, chat),
        budget,
        usable: (id) => this.vocabulary!.words[id] !== "" && !tokenizer.endTokens.has(id),
        blank: matcher ? this.blank : undefined,
        mostBlanks: json ? JSON_BLANKS : calls?.mode === "strict" ? TEXT_BLANKS : undefined,
      });
    } catch (e) {
      matcher?.free();
      throw e;
    }
  }

  private calls({ prompt, constraint }: GenerateRequest, chat: ChatFormat): CallsRequest | undefined {
    if (prompt.kind !== "chat") return undefined;
    const { tokenizer } = this.o;
    const tools = offeredTools(prompt);
    if (tools.length === 0) return undefined;
    const forced = forcesCalls(prompt);
    const mode = forced ? "forced" : !constraint && tools.some((t) => t.strict) ? "strict" : "allowed";
    const isEnd = (text: string): boolean => tokenizer.endTokens.has(tokenizer.id(text) ?? -1);
    return { tools, grammar: chat.grammar, openers: chat.callMarkers, mode, single: isSingleCall(prompt), isEnd };
  }

  /** @param build makes the grammar again, without what takes the most time where that may be left out */
  private async matcher(
    ebnf: string,
    build: (loose: boolean) => string | undefined,
    constraint: GenerateRequest["constraint"],
  ): Promise<RemoteMatcher> {
    const { tokenizer, vocabSize, chat, timeoutMs = DEFAULTS.timeoutMs, memory = DEFAULTS.memory, onCompiled, startWorker } = this.o;
    this.vocabulary ??= vocabularyOf(tokenizer, vocabSize, markersOf(chat));
    this.pool ??= new GrammarPool({
      vocabulary: this.vocabulary,
      timeoutMs,
      memory,
      onCompiled,
      startWorker,
    });
    const { pool } = this;
    try {
      return await pool.matcher(ebnf).catch((e: unknown) => {
        const loose = e instanceof CompileProblem ? build(true) : undefined;
        if (loose === undefined || loose === ebnf) throw e;
        return pool.matcher(loose);
      });
    } catch (e) {
      if (!(e instanceof CompileProblem)) throw e;
      const { param = "tools", kind = "schema" } = constraint ?? {};
      throw new AlloyError(kind === "schema" ? "invalid_json_schema" : "invalid_grammar", `the grammar of '${param}' ${e.message}`, {
        param,
        hint: "make it simpler: smaller counts (maxLength, maxItems, {n,m}), fewer alternatives",
        data: { reason: `has a grammar that ${e.message}` },
      });
    }
  }
}

/** All text that a chat format writes around calls, messages and reasoning. */
function markersOf(chat: ChatFormat | undefined): string {
  if (!chat) return "";
  const { before, open, close, between = "", after, messages } = chat.grammar;
  const around = messages ? [messages.resume, messages.answer, chat.reasoning?.open, chat.reasoning?.close] : [];
  return [before, open("x", 0), open("x", 1), close, between, after, ...around].join("\n");
}
