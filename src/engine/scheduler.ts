/**
 * Continuous batching over one model. Each step runs one ragged batch: the next token of every decoding request, and with what is left of
 * the token budget the next chunks of prompts. Requests start in the order of ./turns.ts, when their prompt's blocks can be had;
 * when a decoding request needs a block and none is left, the latest one gives its blocks back and is computed again later.
 */
import type { ModelRunner, SequenceStep } from "../models/api.ts";
import { AlloyError } from "../support/errors.ts";
import { type ModelWork, newWork, STEP_TOKENS } from "./api.ts";
import { KvCache, type Lease } from "./cache/kv.ts";
import { Pace } from "./pace.ts";
import type { Sequence } from "./sequence.ts";
import { StepBudget } from "./step-budget.ts";
import { Turns } from "./turns.ts";

export interface SchedulerOptions {
  /** Requests that generate at the same time. */
  parallel: number;
  /** Requests that wait, here and `elsewhere` (for other models). */
  maxQueue: number;
  elsewhere?: () => number;
  /** The same of one client here. Default: no limit of its own. */
  clientParallel?: number;
  clientQueue?: number;
  /** Longest wanted gap between two tokens of a request while others' prompts are computed, milliseconds. Default 100. */
  maxGap?: number;
  /** Called after each step; tests check the invariants here. */
  onStep?: () => void;
}

interface Part {
  sequence: Sequence;
  step: SequenceStep;
}

/** Milliseconds between two tokens of a request that other requests' prompts may cause. */
export const MAX_GAP_MS = 100;

export class Scheduler {
  readonly cache: KvCache;
  readonly work: ModelWork = newWork();
  private readonly queue: Sequence[] = [];
  /** In the order of `before`: what a preemption takes first stands last. */
  private readonly running: Sequence[] = [];
  private readonly turns = new Turns();
  private readonly pace = new Pace();
  private readonly budget: StepBudget;
  private arrivals = 0;
  private loop: Promise<void> | undefined;

  constructor(
    private readonly runner: ModelRunner,
    private readonly o: SchedulerOptions,
  ) {
    this.cache = new KvCache(runner.blockCount, runner.blockTokens);
    this.budget = new StepBudget(o.maxGap ?? MAX_GAP_MS, runner.maxBatchTokens);
  }

  get counts(): { running: number; queued: number } {
    return { running: this.running.length, queued: this.queue.length };
  }

  get limits(): { running: number; queued: number } {
    return { running: this.o.parallel, queued: this.o.maxQueue };
  }

  /** Queues a request. Throws `queue_full`. */
  submit(sequence: Sequence): void {
    this.checkRoom(sequence.client);
    sequence.arrival = this.arrivals++;
    this.enqueue(sequence);
    this.loop ??= this.run();
  }

  /** Throws `queue_full` when one more request may not wait, or not of this client. */
  checkRoom(client: string): void {
    const { parallel, maxQueue, elsewhere = () => 0, clientParallel = parallel, clientQueue = Infinity } = this.o;
    const places = Math.max(0, parallel - this.running.length);
    const waiting = this.queue.length + elsewhere();
    const own = (list: readonly Sequence[]): number => list.filter((s) => s.client === client).length;
    const mine = clientQueue === Infinity ? 0 : own(this.queue);
    const minePlaces = Math.min(places, Math.max(0, clientParallel - own(this.running)));
    const data = { queued: waiting, running: this.running.length };
    if (waiting >= maxQueue + places) {
      throw new AlloyError("queue_full", `${waiting} requests are waiting already`, {
        hint: "try again in a moment, or start Alloy with a longer queue",
        data: { ...data, retryAfter: this.pace.retryAfter() },
      });
    }
    if (mine < clientQueue + minePlaces) return;
    throw new AlloyError("queue_full", `${mine} requests of this client are waiting already`, {
      hint: "wait for some of them to end, or start Alloy with a larger --client-queue",
      data: { ...data, retryAfter: this.pace.retryAfter() },
    });
  }

  /** Ends a request at the next step's boundary. */
  cancel(sequence: Sequence): void {
    sequence.cancelled = true;
  }

  /** Graceful: fails what waits and lets the rest finish. Otherwise cancels all. Resolves when nothing is left. */
  async drain(error: AlloyError, graceful: boolean): Promise<void> {
    if (graceful) for (const s of this.queue.splice(0)) s.fail(this.cache, error);
    if (!graceful) for (const s of [...this.running, ...this.queue]) this.cancel(s);
    await this.loop;
  }

  /** Throws unless blocks, leases and states agree. */
  check(): void {
    const leases: Lease[] = [];
    for (const s of this.running) {
      const covered = s.lease ? this.cache.covered(s.lease) : -1;
      if (s.computed > covered) throw new Error(`${s.o.id}: ${s.computed} tokens computed in blocks for ${covered}`);
      if (s.state !== "prefill" && s.state !== "decode") throw new Error(`${s.o.id} runs in state ${s.state}`);
      leases.push(s.lease!);
    }
    for (const s of this.queue) if (s.lease || s.state !== "waiting") throw new Error(`${s.o.id} waits in state ${s.state}`);
    this.cache.check(leases);
  }

  private async run(): Promise<void> {
    try {
      while (this.queue.length + this.running.length > 0) {
        await nextTurn();
        await this.step();
        this.o.onStep?.();
      }
    } finally {
      this.loop = undefined;
    }
  }

  private async step(): Promise<void> {
    const began = performance.now();
    this.sweep();
    this.admit();
    await this.jump();
    const batch = await this.masked(this.compose());
    if (batch.length === 0) return;
    const decoding = batch.filter((p) => p.sequence.state === "decode").length;
    const prompt = sum(batch.filter((p) => p.sequence.state === "prefill"));
    this.count(decoding, sum(batch));
    try {
      const result = await this.runner.step(batch.map((p) => p.step));
      let row = 0;
      for (const part of batch) this.guarded(part, () => this.apply(part, result, part.step.outputs === "last" ? row++ : -1));
      this.budget.observe(performance.now() - began, decoding, prompt);
    } catch (e) {
      for (const { sequence } of batch) this.remove(sequence, () => sequence.fail(this.cache, e));
    }
  }

  private count(decoding: number, tokens: number): void {
    const { work } = this;
    work.steps++;
    work.decoded += decoding;
    work.tokens += tokens;
    work.evictions = this.cache.evictions;
    const bucket = STEP_TOKENS.findIndex((bound) => tokens <= bound);
    work.stepTokens[bucket === -1 ? STEP_TOKENS.length : bucket]++;
  }

  /** Appends what grammars leave no choice of: such tokens are computed together, and none of them is drawn. */
  private async jump(): Promise<void> {
    for (const s of this.running.slice()) {
      try {
        const tokens = await s.forced();
        if (tokens.length === 0 || !this.cache.grow(s.lease!, s.length + tokens.length)) continue;
        this.work.forced += tokens.length;
        const reason = s.force(tokens);
        if (reason) this.remove(s, () => s.finish(this.cache, reason));
      } catch (e) {
        this.remove(s, () => s.fail(this.cache, e));
      }
    }
  }

  /** Gives the rows of requests that are held to a grammar their masks. */
  private async masked(batch: Part[]): Promise<Part[]> {
    const failed = new Set<Part>();
    for (const part of batch) {
      const { sequence, step } = part;
      if (!step.sampling || !sequence.o.guide) continue;
      try {
        step.sampling.mask = await sequence.o.guide.mask();
      } catch (e) {
        failed.add(part);
        this.remove(sequence, () => sequence.fail(this.cache, e));
      }
    }
    return failed.size === 0 ? batch : batch.filter((p) => !failed.has(p));
  }

  /** Lets go of requests that were cancelled or whose time is up. */
  private sweep(): void {
    const now = Date.now();
    for (const s of [...this.running, ...this.queue]) {
      if (s.cancelled) this.remove(s, () => s.finish(this.cache, "cancelled"));
      else if (s.o.deadline !== undefined && now >= s.o.deadline) this.remove(s, () => s.fail(this.cache, timeout(s)));
    }
  }

  /** Starts waiting requests in turn while there is room. One that shares its beginning with a prompt being computed waits for that. */
  private admit(): void {
    const passed = new Set<Sequence>();
    // A long queue behind one shared beginning is not searched through every step.
    while (this.running.length < this.o.parallel && passed.size < 2 * this.o.parallel) {
      const s = this.turns.next(this.queue, (w) => !passed.has(w) && this.mayRun(w.client));
      if (!s) return;
      const match = this.cache.match(s.tokens, s.length - 1);
      if (this.running.some((r) => this.sharesMore(r, s, match.tokens))) {
        passed.add(s);
        continue;
      }
      const opened = this.cache.open(match, s.length, this.running.length);
      if (!opened) return;
      const { lease, cached, copy } = opened;
      if (copy) this.runner.copyBlock(copy.from, copy.to);
      this.queue.splice(this.queue.indexOf(s), 1);
      if (!s.started) this.turns.charge(s.client, s.length - cached, "prompt");
      s.admit(lease, cached);
      insert(this.running, s);
    }
  }

  private mayRun(client: string): boolean {
    const { clientParallel } = this.o;
    return clientParallel === undefined || this.running.filter((r) => r.client === client).length < clientParallel;
  }

  /** Whether `running` is still computing whole blocks at the beginning that `waiting` could use, beyond the `cached` tokens there are. */
  private sharesMore(running: Sequence, waiting: Sequence, cached: number): boolean {
    if (running.state !== "prefill") return false;
    const { blockTokens } = this.cache;
    const least = (Math.floor(Math.max(cached, running.computed) / blockTokens) + 1) * blockTokens;
    if (least > Math.min(running.length, waiting.length - 1)) return false;
    return sameTokens(running.tokens.subarray(0, least), waiting.tokens.subarray(0, least));
  }

  private compose(): Part[] {
    const batch: Part[] = [];
    const take = (sequence: Sequence, count: number): void => {
      batch.push({ sequence, step: sequence.part(this.cache, count) });
    };
    for (const s of this.running.slice()) if (s.state === "decode" && this.makeRoom(s)) take(s, 1);
    let budget = this.budget.tokens(batch.length);
    // Short prompts first, each getting at most an equal share of what is left: none waits for a long one to end.
    const prompts = this.running.filter((s) => s.state === "prefill").sort((a, b) => a.pending - b.pending);
    prompts.forEach((s, i) => {
      const count = Math.min(s.pending, Math.ceil(budget / (prompts.length - i)));
      if (count > 0) take(s, count);
      budget -= count;
    });
    return batch;
  }

  /** Finds room for a decoding request's next token, at the cost of later requests. False: it had to give way itself. */
  private makeRoom(s: Sequence): boolean {
    while (s.state === "decode" && !this.cache.grow(s.lease!, s.length)) {
      const victim = this.running.pop()!;
      victim.preempt(this.cache);
      this.work.preemptions++;
      this.enqueue(victim);
    }
    return s.state === "decode";
  }

  private apply({ sequence: s, step }: Part, result: Awaited<ReturnType<ModelRunner["step"]>>, row: number): void {
    s.advance(this.cache, step.tokens.length);
    if (row === -1 || s.cancelled) return;
    this.turns.charge(s.client, 1, "output");
    const reason = s.accept(result, row);
    if (reason) this.remove(s, () => s.finish(this.cache, reason));
  }

  /** A request whose text or tool calls break something fails alone. */
  private guarded({ sequence }: Part, action: () => void): void {
    try {
      action();
    } catch (e) {
      this.remove(sequence, () => sequence.fail(this.cache, e));
    }
  }

  private remove(s: Sequence, end: () => void): void {
    for (const list of [this.running, this.queue]) {
      const at = list.indexOf(s);
      if (at !== -1) list.splice(at, 1);
    }
    this.pace.ended();
    end();
  }

  private enqueue(s: Sequence): void {
    this.turns.join(s, this.queue);
    this.queue.push(s);
  }
}

const sum = (parts: readonly Part[]): number => parts.reduce((n, p) => n + p.step.tokens.length, 0);

const before = (a: Sequence, b: Sequence): boolean => (a.priority !== b.priority ? a.priority > b.priority : a.arrival < b.arrival);

function insert(list: Sequence[], s: Sequence): void {
  const at = list.findIndex((other) => before(s, other));
  list.splice(at === -1 ? list.length : at, 0, s);
}

function timeout(s: Sequence): AlloyError {
  return new AlloyError("timeout", `the request's time was up after ${s.generated} tokens`, {
    hint: "allow more time, or ask for fewer tokens",
    data: { tokens: s.generated },
  });
}

/** Compares bytes: prompts of 100,000 tokens that begin alike are compared in every step. */
const sameTokens = (a: Int32Array, b: Int32Array): boolean =>
  Buffer.compare(new Uint8Array(a.buffer, a.byteOffset, a.byteLength), new Uint8Array(b.buffer, b.byteOffset, b.byteLength)) === 0;

/** Lets messages, timers and aborts in between two steps. */
const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
