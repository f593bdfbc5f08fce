/** One request on its way through the scheduler. Every change of its state is a method here. */
import type { SequenceStep, StepResult } from "../models/api.ts";
import { AlloyError } from "../support/errors.ts";
import type { Tokenizer } from "../tokenizer/api.ts";
import type { FinishReason } from "./api.ts";
import type { KvCache, Lease } from "./cache/kv.ts";
import type { Guide } from "./grammar/guide.ts";
import type { Output } from "./output.ts";
import type { EventQueue } from "./queue.ts";
import { RowBuilder, tokenLogprob, type ResolvedSampling } from "./sampling.ts";

export interface SequenceOptions {
  id: string;
  prompt: Int32Array;
  sampling: ResolvedSampling;
  tokenizer: Tokenizer;
  output: Output;
  /** Says which tokens may be drawn. */
  guide?: Guide;
  events: EventQueue;
  /** Most tokens, prompt included. */
  window: number;
  maxTokens?: number;
  ignoreEos: boolean;
  logprobs?: number;
  /** Milliseconds since epoch. */
  deadline?: number;
  priority: number;
  /** Who asks: waiting requests take turns between clients. */
  client: string;
  /** `performance.now()` when the request came in, and how long it waited for its model. */
  created: number;
  loadMs: number;
  /** Called once when the request is over, however it ended. */
  onOver(): void;
}

/** waiting: in the queue; prefill: tokens not all in the cache; decode: only the last one is not; over: gone from the scheduler. */
export type SequenceState = "waiting" | "prefill" | "decode" | "over";

export class Sequence {
  state: SequenceState = "waiting";
  /** Prompt and generated tokens; only the first `length` count. */
  tokens: Int32Array;
  length: number;
  /** Tokens whose keys and values are in the cache. */
  computed = 0;
  lease: Lease | undefined;
  /** Position in the order of arrival; the scheduler sets it. */
  arrival = 0;
  cancelled = false;

  private readonly rows: RowBuilder;
  private cachedTokens: number | undefined;
  private admittedAt: number | undefined;
  private firstTokenAt: number | undefined;
  /** Whether the prompt has been in the cache. */
  private prefilled = false;
  /** Length at which it was last asked what the grammar leaves no choice of. */
  private forcedAt = -1;

  constructor(readonly o: SequenceOptions) {
    this.length = o.prompt.length;
    this.tokens = new Int32Array(Math.min(o.window, this.length + 256));
    this.tokens.set(o.prompt);
    this.rows = new RowBuilder(o.sampling, o.prompt);
  }

  get client(): string {
    return this.o.client;
  }

  get priority(): number {
    return this.o.priority;
  }

  get created(): number {
    return this.o.created;
  }

  /** Whether it ran at least once. */
  get started(): boolean {
    return this.admittedAt !== undefined;
  }

  get generated(): number {
    return this.length - this.o.prompt.length;
  }

  /** Tokens that have to be put into the cache before the next one can be drawn. */
  get pending(): number {
    return this.length - this.computed;
  }

  /** waiting → prefill, with a lease that has room for all tokens so far. */
  admit(lease: Lease, cached: number): void {
    this.state = "prefill";
    this.lease = lease;
    this.computed = cached;
    this.cachedTokens ??= cached;
    this.admittedAt ??= performance.now();
    // Tells those who watch that it runs, before its first chunk is through.
    this.reportPrefill();
  }

  /** prefill or decode → waiting: gives its blocks back and will compute its tokens again. */
  preempt(cache: KvCache): void {
    this.release(cache);
    this.state = "waiting";
  }

  /** The next `count` tokens as part of a step. */
  part(cache: KvCache, count: number): SequenceStep {
    const reachesEnd = count === this.pending;
    return {
      tokens: this.tokens.slice(this.computed, this.computed + count),
      start: this.computed,
      blocks: cache.table(this.lease!),
      outputs: reachesEnd ? "last" : "none",
      sampling: reachesEnd ? this.rows.row(this.generated) : null,
    };
  }

  /** `count` more tokens are in the cache. */
  advance(cache: KvCache, count: number): void {
    this.computed += count;
    cache.commit(this.lease!, this.tokens, this.computed);
    this.reportPrefill();
  }

  /** Takes the token drawn in output row `row`: → decode, or a reason to end. */
  accept(result: StepResult, row: number): FinishReason | undefined {
    const { tokenizer, ignoreEos, logprobs, output, maxTokens, window, guide } = this.o;
    const token = result.tokens[row];
    // Nothing can follow, and in a vocabulary without end tokens nothing says so.
    if (token < 0 && guide?.complete) return "stop";
    if (token < 0) {
      throw new AlloyError("device_error", "the model gave no finite logit, so no token can be drawn", {
        hint: "the model file may be damaged, or the logit bias bans every token",
      });
    }
    this.firstTokenAt ??= performance.now();
    const ends = tokenizer.endTokens.has(token);
    if (ends && (guide?.strict || !ignoreEos)) return "stop";
    guide?.accept(token);
    this.state = "decode";
    this.append(token);
    const logprob =
      logprobs === undefined ? undefined : tokenLogprob(token, result.logits(row), result.logSumExp[row], logprobs, tokenizer);
    if (output.push(token, logprob)) return "stop";
    if (this.generated === maxTokens) return "length";
    if (this.length >= window) return "context";
    return undefined;
  }

  /**
   * The tokens that have to come next because the grammar leaves no choice; they need not be drawn. Asked once for each length. None where
   * log-probabilities are wanted, which only a draw gives.
   */
  async forced(): Promise<readonly number[]> {
    const { guide, logprobs, maxTokens = Infinity, window } = this.o;
    if (!guide?.strict || logprobs !== undefined || this.forcedAt === this.length || this.pending === 0) return [];
    if (this.state === "prefill" && this.generated > 0) return [];
    this.forcedAt = this.length;
    const tokens = await guide.forced(this.tokens[this.length - 1]);
    // The last token that is allowed is drawn, and ends the answer as ever.
    return tokens.slice(0, Math.max(0, Math.min(maxTokens - this.generated, window - this.length) - 1));
  }

  /** Takes tokens that need not be drawn; the lease has room for them. decode → prefill, or a reason to end. */
  force(tokens: readonly number[]): FinishReason | undefined {
    this.o.guide!.force(tokens);
    this.state = "prefill";
    for (const token of tokens) {
      this.append(token);
      if (this.o.output.push(token)) return "stop";
    }
    this.forcedAt = this.length;
    return undefined;
  }

  /** → over, with an end event. */
  finish(cache: KvCache, reason: FinishReason): void {
    this.release(cache);
    this.state = "over";
    const { output, events, created, loadMs } = this.o;
    if (reason !== "cancelled") output.finish();
    const now = performance.now();
    const admitted = this.admittedAt ?? now;
    const firstToken = this.firstTokenAt ?? now;
    events.push({
      type: "end",
      reason: reason === "stop" && output.calledTool ? "tool_calls" : reason,
      stop: output.stop,
      usage: {
        promptTokens: this.o.prompt.length,
        cachedTokens: this.cachedTokens ?? 0,
        completionTokens: this.generated,
        reasoningTokens: Math.min(output.reasoningTokens, this.generated),
      },
      timings: {
        load: loadMs,
        queued: Math.max(0, admitted - created - loadMs),
        prefill: firstToken - admitted,
        decode: now - firstToken,
        total: now - created,
      },
      ids: [...this.tokens.subarray(this.o.prompt.length, this.length)],
    });
    events.end();
    this.o.onOver();
  }

  /** → over, with an error. */
  fail(cache: KvCache, error: unknown): void {
    this.release(cache);
    this.state = "over";
    this.o.events.fail(AlloyError.from(error));
    this.o.onOver();
  }

  private reportPrefill(): void {
    const total = this.o.prompt.length;
    if (this.prefilled) return;
    this.prefilled = this.computed >= total;
    this.o.events.push({ type: "prefill", done: Math.min(this.computed, total), total, cached: this.cachedTokens ?? 0 });
  }

  private append(token: number): void {
    if (this.length === this.tokens.length) {
      const larger = new Int32Array(Math.min(this.o.window, this.length * 2));
      larger.set(this.tokens);
      this.tokens = larger;
    }
    this.tokens[this.length++] = token;
    this.rows.add(this.tokens, this.length);
  }

  private release(cache: KvCache): void {
    if (this.lease) cache.close(this.lease, this.tokens, this.computed);
    this.lease = undefined;
    this.computed = 0;
  }
}
