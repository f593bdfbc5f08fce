/** One worker for grammars, seen from the engine: what it has compiled, and the positions that it keeps. */
import type { FromGrammars, MatcherState, ToGrammars } from "./messages.ts";
import type { Vocabulary } from "./vocabulary.ts";

/** Position in a grammar that a worker keeps. */
export interface RemoteMatcher {
  /** What may come next, once the worker has said so. Throws when a token did not follow. */
  state(): Promise<MatcherState>;
  /** Goes on behind tokens that were drawn. */
  accept(tokens: readonly number[]): void;
  free(): void;
}

/** The part of a Worker that is used. */
export interface GrammarWorker {
  postMessage(message: ToGrammars): void;
  onmessage: ((event: MessageEvent<FromGrammars>) => void) | null;
  onerror: ((event: ErrorEvent) => void) | null;
  terminate(): void;
}

type Waiting<T> = ReturnType<typeof Promise.withResolvers<T>>;

/** What the module says against a grammar. */
export class Refused extends Error {}

export class Slot {
  readonly grammars = new Set<string>();
  /** Bytes of the module's memory when it was last heard of. */
  bytes = 0;
  /** `performance.now()` of its last use. */
  used = performance.now();
  dead = false;
  /** Somebody is about to compile. */
  reserved = false;
  private readonly opened = Promise.withResolvers<void>();
  private compiling: Waiting<void> | undefined;
  private readonly matchers = new Map<number, Waiting<MatcherState>[]>();
  private next = 0;

  constructor(
    private readonly worker: GrammarWorker,
    vocabulary: Vocabulary,
    memory: number,
    /** Called when it may have become idle, and when it has died. */
    private readonly onChange: () => void,
  ) {
    this.opened.promise.catch(() => {});
    worker.onmessage = ({ data }) => this.take(data);
    worker.onerror = (event) => {
      event.preventDefault?.();
      this.end(new Error(`the worker for grammars failed: ${event.message}`));
    };
    worker.postMessage({ type: "open", vocabulary, memory });
  }

  /** Whether it compiles, so that positions in other grammars would wait for it and end with it. */
  get busy(): boolean {
    return this.reserved || this.compiling !== undefined;
  }

  get idle(): boolean {
    return !this.busy && this.matchers.size === 0;
  }

  /** Compiles a grammar; only while nobody follows one. Throws `Refused`, and `undefined` when it took longer than `timeoutMs`. */
  async compile(ebnf: string, timeoutMs: number): Promise<void> {
    const compiling = Promise.withResolvers<void>();
    compiling.promise.catch(() => {});
    this.compiling = compiling;
    this.reserved = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      await this.opened.promise;
      timer = setTimeout(() => this.end(undefined), timeoutMs);
      this.worker.postMessage({ type: "compile", ebnf });
      await compiling.promise;
      this.grammars.add(ebnf);
    } catch (e) {
      // The module's state behind a failure is unknown.
      this.end(e);
      throw e;
    } finally {
      clearTimeout(timer);
      this.compiling = undefined;
      this.used = performance.now();
      this.onChange();
    }
  }

  /** A position at the beginning of a grammar that it has compiled. */
  matcher(ebnf: string): RemoteMatcher {
    const id = this.next++;
    const states: Waiting<MatcherState>[] = [];
    this.matchers.set(id, states);
    let last = this.ask(states, { type: "match", matcher: id, ebnf });
    return {
      state: () => last,
      accept: (tokens) => {
        last = this.ask(states, { type: "accept", matcher: id, tokens: [...tokens] });
      },
      free: () => {
        if (!this.matchers.delete(id)) return;
        this.used = performance.now();
        if (!this.dead) this.worker.postMessage({ type: "free", matcher: id });
        this.onChange();
      },
    };
  }

  /** Ends the worker; whoever waits for it gets `error`. */
  end(error: unknown): void {
    if (this.dead) return;
    this.dead = true;
    this.worker.terminate();
    this.opened.reject(error);
    this.compiling?.reject(error);
    for (const states of this.matchers.values()) for (const s of states.splice(0)) s.reject(error);
    this.onChange();
  }

  private ask(states: Waiting<MatcherState>[], message: ToGrammars): Promise<MatcherState> {
    const state = Promise.withResolvers<MatcherState>();
    // A request that ends asks no more.
    state.promise.catch(() => {});
    if (this.dead) state.reject(new Error("the worker for grammars has ended"));
    else {
      states.push(state);
      this.worker.postMessage(message);
    }
    return state.promise;
  }

  private take(message: FromGrammars): void {
    switch (message.type) {
      case "ready":
        return this.opened.resolve();
      case "compiled":
        this.bytes = message.bytes;
        return this.compiling?.resolve();
      case "failed":
        return this.compiling?.reject(new Refused(message.message));
      case "state":
        return this.matchers.get(message.matcher)?.shift()?.resolve(message);
      case "lost":
        return this.matchers.get(message.matcher)?.shift()?.reject(new Error(message.message));
    }
  }
}
