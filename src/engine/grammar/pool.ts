/**
 * Where a model's grammars are compiled and followed: workers, so that no step waits while a grammar compiles. What xgrammar compiles lives in
 * the memory of one WebAssembly instance and cannot be moved, so a worker that has compiled a grammar also keeps the positions in it. A
 * worker compiles only while nobody follows a grammar in it; then it can be ended when that takes too long.
 */
import { availableParallelism, loadavg } from "node:os";
import { COMPILED } from "../../support/version.ts";
import { type GrammarWorker, Refused, type RemoteMatcher, Slot } from "./slot.ts";
import type { Vocabulary } from "./vocabulary.ts";

export interface PoolOptions {
  vocabulary: Vocabulary;
  /** Milliseconds that a grammar may take to compile on a machine with nothing else to do; longer on a busy one. */
  timeoutMs: number;
  /** Bytes of memory for all grammars, compiled ones that are kept included. Those used longest ago go first. */
  memory: number;
  /** Hears of every grammar that was compiled or given up. */
  onCompiled?(seconds: number): void;
  startWorker?(): GrammarWorker;
}

/** What is wrong with a grammar that cannot be compiled. */
export class CompileProblem extends Error {}

/** Grammars that are followed at the same time live in at most so many workers. */
const MAX_WORKERS = 4;
/** Grammars that one worker keeps, and that are remembered as too large. */
const MAX_KEPT = 64;
/** In the executable all code lies in one module at its root, and workers where their sources lie below the repository. */
const WORKER = COMPILED ? "./src/engine/grammar/worker.ts" : "./worker.ts";

const startWorker = (): GrammarWorker => new Worker(new URL(WORKER, import.meta.url)) as GrammarWorker;

/** How many share a processor, 1 to 8: a grammar is not refused because the machine is busy. */
const crowd = (): number => Math.min(8, Math.max(1, loadavg()[0] / availableParallelism()));

export class GrammarPool {
  private slots: Slot[] = [];
  private readonly compiling = new Map<string, Promise<void>>();
  private waiting: (() => void)[] = [];
  /** What was given up, so that asking again costs nothing. */
  private readonly problems = new Map<string, CompileProblem>();
  private closed = false;

  constructor(private readonly o: PoolOptions) {}

  /** A position at the beginning of a grammar in EBNF, which is compiled first if no worker has it. Throws `CompileProblem`. */
  async matcher(ebnf: string): Promise<RemoteMatcher> {
    for (;;) {
      const having = this.slots.filter((s) => s.grammars.has(ebnf));
      const slot = having.find((s) => !s.busy);
      if (slot) return slot.matcher(ebnf);
      if (having.length > 0) await this.change();
      else await this.compiled(ebnf);
    }
  }

  /** Ends the workers. */
  close(): void {
    this.closed = true;
    for (const slot of this.slots) slot.end(new Error("the model was unloaded"));
    this.slots = [];
  }

  /** Compiles a grammar in some worker. Who asks for what is being compiled waits for that. */
  private compiled(ebnf: string): Promise<void> {
    const problem = this.problems.get(ebnf);
    if (problem) return Promise.reject(problem);
    const known = this.compiling.get(ebnf);
    if (known) return known;
    const compiling = this.compile(ebnf).finally(() => this.compiling.delete(ebnf));
    compiling.catch((e: unknown) => {
      if (e instanceof CompileProblem) this.problems.set(ebnf, e);
      if (this.problems.size > MAX_KEPT) this.problems.delete(this.problems.keys().next().value!);
    });
    this.compiling.set(ebnf, compiling);
    return compiling;
  }

  private async compile(ebnf: string): Promise<void> {
    const { timeoutMs, memory, onCompiled } = this.o;
    const slot = await this.free();
    const started = performance.now();
    try {
      await slot.compile(ebnf, timeoutMs * crowd());
    } catch (e) {
      if (e === undefined && !this.closed) throw new CompileProblem(`takes longer than ${timeoutMs / 1000} s to compile`);
      if (!(e instanceof Refused)) throw e;
      const { message } = e;
      // What a module without memory says of it differs.
      if (/abort|memory|bad_alloc|unreachable|out of bounds/i.test(message)) {
        throw new CompileProblem(`takes more than ${Math.floor(memory / 2 / 2 ** 20)} MiB to compile`);
      }
      throw new CompileProblem(`cannot be compiled: ${message}`);
    } finally {
      onCompiled?.((performance.now() - started) / 1000);
    }
    this.makeRoom(slot);
  }

  /** A worker in which nobody follows a grammar; it is reserved. */
  private async free(): Promise<Slot> {
    for (;;) {
      const slot = this.idle();
      if (slot) {
        slot.reserved = true;
        return slot;
      }
      await this.change();
    }
  }

  /** A worker to compile in: one that has room, a new one, or a new one in place of the one used longest ago. */
  private idle(): Slot | undefined {
    if (this.closed) throw new Error("the model was unloaded");
    const idle = this.slots.filter((s) => s.idle).sort((a, b) => a.used - b.used);
    const roomy = idle.findLast((s) => s.bytes < this.o.memory / MAX_WORKERS && s.grammars.size < MAX_KEPT);
    if (roomy) return roomy;
    if (this.slots.length < MAX_WORKERS) return this.start();
    if (idle.length === 0) return undefined;
    idle[0].end(undefined);
    return this.start();
  }

  /** Until a worker may have become idle, or has ended. */
  private change(): Promise<void> {
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  private start(): Slot {
    const worker = (this.o.startWorker ?? startWorker)();
    const slot = new Slot(worker, this.o.vocabulary, this.o.memory / 2, () => this.changed());
    this.slots.push(slot);
    return slot;
  }

  /** Ends the workers used longest ago until the others' memory is within the limit. */
  private makeRoom(kept: Slot): void {
    const idle = this.slots.filter((s) => s.idle && s !== kept).sort((a, b) => a.used - b.used);
    for (const slot of idle) {
      if (this.slots.reduce((n, s) => n + s.bytes, 0) <= this.o.memory) return;
      slot.end(undefined);
    }
  }

  private changed(): void {
    this.slots = this.slots.filter((s) => !s.dead);
    for (const resolve of this.waiting.splice(0)) resolve();
  }
}
