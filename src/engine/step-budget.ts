/**
 * How many tokens of prompts a step may take while other requests generate. Each of these waits for the whole step, so the step's time is
 * the gap between two tokens of theirs; it is held below a target by what earlier steps took. (Prompts in pieces beside decoding: Agrawal
 * et al., "Taming Throughput-Latency Tradeoff in LLM Inference with Sarathi-Serve", OSDI 2024, where the budget is fixed beforehand.)
 */

/** However slow the machine, a prompt goes on by so many tokens a step. */
export const LEAST_TOKENS = 8;
/** Where decoding alone takes longer than half the target, prompts may take as much time again: both go on at half speed. */
const SHARE_OF_SLOW = 2;
/** Weight of a new sample: what got slower is believed sooner than what got faster. */
const RISE = 0.5;
const FALL = 0.125;
/** A sample counts as this many times the estimate at most: programs that are compiled when first used, a machine that was asleep. */
const OUTLIER = 4;
/** Steps with fewer tokens of prompts say little about what one of them costs. */
const TELLING_TOKENS = 8;

export class StepBudget {
  /** Milliseconds of a step without prompts, and of a prompt's token; undefined: not measured yet. */
  private base: number | undefined;
  private perToken: number | undefined;

  /**
   * @param targetMs longest wanted gap between two tokens of a request, milliseconds
   * @param most tokens of a step
   */
  constructor(
    private readonly targetMs: number,
    private readonly most: number,
  ) {}

  /** Tokens of prompts for a step in which `decoding` requests get a token. */
  tokens(decoding: number): number {
    const room = this.most - decoding;
    if (decoding === 0) return room;
    // Nothing measured: a share that is short on any machine.
    if (this.perToken === undefined) return Math.min(room, Math.ceil(this.most / 4));
    const base = this.base ?? 0;
    const left = Math.max(this.targetMs, SHARE_OF_SLOW * base) - base;
    return Math.min(room, Math.max(LEAST_TOKENS, Math.floor(left / this.perToken)));
  }

  /** A step took `ms`, in which `decoding` requests got a token, and `prompt` tokens of prompts were computed. */
  observe(ms: number, decoding: number, prompt: number): void {
    if (prompt === 0) this.base = follow(this.base, ms);
    else if (prompt >= TELLING_TOKENS)
      this.perToken = follow(this.perToken, Math.max(0, ms - (decoding > 0 ? (this.base ?? 0) : 0)) / prompt);
  }
}

function follow(estimate: number | undefined, sample: number): number {
  if (estimate === undefined) return sample;
  const seen = Math.min(sample, OUTLIER * estimate);
  return estimate + (seen > estimate ? RISE : FALL) * (seen - estimate);
}
