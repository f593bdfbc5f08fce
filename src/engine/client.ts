/**
 * An engine that runs elsewhere, so that HTTP and the terminal never wait for it. One that dies is started again; what was asked of it and
 * not answered yet is asked again, except requests that have emitted something and those that may have been what killed it.
 */
import { AlloyError } from "../support/errors.ts";
import type { Engine, EngineHealth, GenerateEvent, GenerateRequest, LoadedModel, ModelInfo, Prompt } from "./api.ts";
import type { EngineOptions } from "./core.ts";
import { Link } from "./link.ts";
import { Errand } from "./errand.ts";
import type { OpenPort } from "./port.ts";
import type { CallArguments, Callable, CallResult } from "./protocol.ts";

export interface ClientParts {
  openPort: OpenPort;
  /** Answered on this side of the border: they never wait for a generation. */
  models(): Promise<ModelInfo[]>;
  model(reference: string): Promise<ModelInfo>;
  /** The engine died and starts again in `restartMs`. */
  onDeath?(death: { why: string; failed: number; kept: number; restartMs: number }): void;
}

/** How much longer than asked an engine may take to close before it is ended. */
const CLOSE_PATIENCE_MS = 2000;
/** Wait before the second start in a row without an answer in between; it doubles up to the longest. The first is at once. */
const BACK_OFF_MS = 100;
const LONGEST_BACK_OFF_MS = 10_000;
/** How long others wait at most while those that may have killed the engine are tried: what kills it mostly does so in its first steps. */
const PROBATION_MS = 3000;
/** Starts in a row without an answer after which what waits is told rather than kept. */
const MOST_STARTS = 6;

export class EngineClient implements Engine {
  private link: Link | undefined;
  private closing = false;
  /** In order of arrival: calls and generations that are not over. */
  private readonly errands = new Set<Errand>();
  /** Deaths since the engine last answered something. */
  private deaths = 0;
  private readonly seen: Pick<EngineHealth, "restarts" | "lastDeath"> = { restarts: 0 };
  private restart: ReturnType<typeof setTimeout> | undefined;
  /** Generations that wait until those that may have killed the engine have been tried. */
  private held: Set<Errand> | undefined;
  private probation: ReturnType<typeof setTimeout> | undefined;

  private constructor(
    private readonly parts: ClientParts,
    private readonly options: EngineOptions,
  ) {}

  /** Starts the engine and waits until it is up. Throws what keeps it from that. */
  static async start(parts: ClientParts, options: EngineOptions): Promise<EngineClient> {
    const client = new EngineClient(parts, options);
    try {
      await client.connect().ready;
      return client;
    } catch (e) {
      await client.close();
      throw e;
    }
  }

  models(): Promise<ModelInfo[]> {
    return this.parts.models();
  }

  model(reference: string): Promise<ModelInfo> {
    return this.parts.model(reference);
  }

  /** One that is not up has nothing loaded. */
  loaded(): Promise<LoadedModel[]> {
    return this.link?.up ? this.call("loaded", []) : Promise.resolve([]);
  }

  load(reference: string, keepAlive?: number): Promise<void> {
    return this.call("load", [reference, keepAlive]);
  }

  unload(reference: string): Promise<void> {
    return this.call("unload", [reference]);
  }

  tokenize(model: string, prompt: Prompt): Promise<{ ids: number[]; text?: string }> {
    return this.call("tokenize", [model, prompt]);
  }

  detokenize(model: string, ids: number[]): Promise<string> {
    return this.call("detokenize", [model, ids]);
  }

  tokenBytes(model: string, ids: number[]): Promise<Uint8Array[]> {
    return this.call("tokenBytes", [model, ids]);
  }

  health(): EngineHealth {
    const state = this.link?.up ? "up" : this.link?.over && this.restart === undefined ? "down" : "starting";
    return { ...this.seen, state, pid: this.link?.pid };
  }

  generate(request: GenerateRequest, signal?: AbortSignal): AsyncIterableIterator<GenerateEvent> {
    const errand = Errand.generation(request, signal, (e) => this.cancel(e));
    if (this.closing) errand.fail(shuttingDown());
    else if (signal?.aborted) errand.fail(new AlloyError("cancelled", "the request was cancelled before it started"));
    else this.begin(errand);
    return errand.events!;
  }

  async close(graceMs = 0): Promise<void> {
    if (this.closing) return;
    this.closing = true;
    clearTimeout(this.restart);
    clearTimeout(this.probation);
    const { link } = this;
    if (link?.up) {
      const closed = Errand.call("close", [graceMs]);
      this.errands.add(closed);
      link.send(closed);
      // One that died meanwhile has nothing left to close.
      await Promise.race([closed.answer!.catch(() => {}), Bun.sleep(graceMs + CLOSE_PATIENCE_MS)]);
    }
    link?.end(shuttingDown());
    for (const errand of this.errands) errand.fail(shuttingDown());
    this.errands.clear();
  }

  private async call<M extends Callable>(method: M, args: CallArguments<M>): Promise<CallResult<M>> {
    if (this.closing) throw shuttingDown();
    const errand = Errand.call(method, args);
    this.begin(errand);
    return (await errand.answer!) as CallResult<M>;
  }

  private begin(errand: Errand): void {
    this.errands.add(errand);
    errand.onOver = () => this.errands.delete(errand);
    // While it waits to be started again, what is asked for waits too.
    if (this.held && errand.events) this.held.add(errand);
    else if (this.restart === undefined) this.connect().send(errand);
  }

  private cancel(errand: Errand): void {
    // One that the engine does not know is over at once.
    if (!this.link?.cancel(errand)) errand.fail(new AlloyError("cancelled", "the request was cancelled before it started"));
  }

  private connect(): Link {
    if (this.link && !this.link.over) return this.link;
    const link = new Link(this.parts.openPort, this.options, {
      answered: () => (this.deaths = 0),
      died: (why, seen) => this.died(why, seen),
      failed: (error) => this.failed(error),
    });
    return (this.link = link);
  }

  /** It cannot come up, and says why: those who wait are told. */
  private failed(error: AlloyError): void {
    for (const errand of this.errands) errand.fail(error);
    this.errands.clear();
  }

  private died(why: string, seen: ReadonlySet<Errand>): void {
    clearTimeout(this.probation);
    this.held = undefined;
    if (this.closing) return this.failed(shuttingDown());
    this.deaths++;
    this.seen.restarts++;
    this.seen.lastDeath = { time: Date.now(), why };
    const lost = [...this.errands].filter((e) => !e.survives(seen.has(e)) || this.deaths >= MOST_STARTS);
    for (const errand of lost) errand.fail(engineDied(why, this.deaths));
    const restartMs = this.deaths === 1 ? 0 : Math.min(LONGEST_BACK_OFF_MS, BACK_OFF_MS * 2 ** (this.deaths - 2));
    this.parts.onDeath?.({ why, failed: lost.length, kept: this.errands.size, restartMs });
    this.restart = setTimeout(() => this.again(), restartMs);
  }

  private again(): void {
    this.restart = undefined;
    // One that cannot stay up is only started for somebody.
    if (this.deaths >= MOST_STARTS && this.errands.size === 0) return;
    const link = this.connect();
    const all = [...this.errands];
    const suspects = all.filter((e) => e.suspected);
    this.held = suspects.length > 0 ? new Set(all.filter((e) => !e.suspected && e.events)) : undefined;
    for (const errand of all) if (!errand.suspected && !this.held?.has(errand)) link.send(errand);
    if (!this.held) return;
    this.probation = setTimeout(() => this.letGo(link), PROBATION_MS);
    this.sendSuspect(link, suspects);
  }

  /**
   * Those that were computed when the engine died go first, one after the other, until each has something to show: should it happen again,
   * it is known whose fault it is, and nobody else is lost.
   */
  private sendSuspect(link: Link, [first, ...rest]: Errand[]): void {
    if (link.over) return;
    if (!first) return this.letGo(link);
    const next = (): void => {
      first.onCleared = () => {};
      this.sendSuspect(link, rest);
    };
    if (!this.errands.has(first)) return next();
    first.onCleared = next;
    link.send(first);
  }

  /** Sends what was held back while suspects were tried. */
  private letGo(link: Link): void {
    clearTimeout(this.probation);
    const { held } = this;
    this.held = undefined;
    for (const errand of held ?? []) if (this.errands.has(errand)) link.send(errand);
  }
}

const engineDied = (why: string, deaths: number): AlloyError =>
  new AlloyError("engine_died", `the engine stopped: ${why}`, {
    hint:
      deaths < 2
        ? "it is starting again; send the request once more"
        : `it stopped ${deaths} times in a row; if it goes on so, please report it`,
  });
const shuttingDown = (): AlloyError => new AlloyError("shutting_down", "Alloy is shutting down", { hint: "try again once it is up" });
