/**
 * Whose turn it is among waiting requests: priority first, then fairness between clients, then arrival.
 *
 * Fairness is by tokens rather than by requests, after the Virtual Token Counter of Sheng et al., "Fairness in Serving Large Language Models"
 * (OSDI 2024): every client has a counter of what was computed for it, and the one with the lowest goes next. One that comes back after a
 * pause is lifted to where the others are, so that silence saves nothing up. That place is the virtual time of Goyal et al., "Start-time Fair
 * Queuing" (1996), the counter with which the last one was picked: a client that sends one request after the other loses nothing by it.
 */

/** What is looked at of a waiting request. */
export interface Turn {
  /** Requests of one client wait for each other. */
  readonly client: string;
  /** Larger goes first. */
  readonly priority: number;
  /** `performance.now()` when it came in. */
  readonly created: number;
  /** Order of arrival. */
  readonly arrival: number;
  /** It ran before, and had to give its place back. */
  readonly started: boolean;
}

/** Waiting for so long counts as one step of priority, up to that of the most urgent request that waits: nobody starves. */
export const AGING_MS = 15_000;
/** A token that is drawn costs a step's share of all weights; one of a prompt is computed beside many others. */
const OUTPUT_COST = 2;
/** Counters are kept of so many clients; more are only those that are behind anyway. */
const REMEMBERED = 1000;

export class Turns {
  private readonly served = new Map<string, number>();
  /** Virtual time: the counter of the client that was picked last, before it was charged. */
  private level = 0;

  constructor(private readonly now: () => number = () => performance.now()) {}

  /** A request begins to wait beside others, which are `waiting`. */
  join(turn: Turn, waiting: readonly Turn[]): void {
    if (waiting.some((w) => w.client === turn.client)) return;
    const from = waiting.reduce((n, w) => Math.min(n, this.countOf(w.client)), this.level);
    this.served.set(turn.client, Math.max(this.countOf(turn.client), from));
    if (this.served.size > REMEMBERED) this.forget(new Set([turn.client, ...waiting.map((w) => w.client)]));
  }

  /** `tokens` of a client's prompt, or drawn for it, were computed or will be now. */
  charge(client: string, tokens: number, kind: "prompt" | "output"): void {
    this.served.set(client, this.countOf(client) + tokens * (kind === "output" ? OUTPUT_COST : 1));
  }

  /** The one that goes next, of those that `may`. */
  next<T extends Turn>(waiting: readonly T[], may: (turn: T) => boolean): T | undefined {
    const now = this.now();
    const urgent = waiting.reduce((p, w) => Math.max(p, w.priority), -Infinity);
    const rank = (w: T): number => Math.min(urgent, w.priority + Math.floor(Math.max(0, now - w.created) / AGING_MS));
    let best: { turn: T; key: readonly number[] } | undefined;
    for (const turn of waiting) {
      if (!may(turn)) continue;
      const key = [-rank(turn), turn.started ? 0 : 1, this.countOf(turn.client), turn.arrival];
      if (!best || isLess(key, best.key)) best = { turn, key };
    }
    if (best) this.level = this.countOf(best.turn.client);
    return best?.turn;
  }

  private countOf(client: string): number {
    return this.served.get(client) ?? 0;
  }

  private forget(present: Set<string>): void {
    for (const [client, count] of this.served) if (count <= this.level && !present.has(client)) this.served.delete(client);
  }
}

function isLess(a: readonly number[], b: readonly number[]): boolean {
  const at = a.findIndex((v, i) => v !== b[i]);
  return at !== -1 && a[at] < b[at];
}
