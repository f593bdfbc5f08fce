/** How fast requests end, which tells those that are refused when to come again. */

/** Weight of the newest interval in the running mean. */
const NEWEST = 0.2;
const LONGEST_S = 60;

export class Pace {
  private last: number;
  private interval = 0;
  /** Refused and told to come back, for whom no place has become free yet. */
  private turnedAway = 0;

  constructor(private readonly now: () => number = () => performance.now()) {
    this.last = now();
  }

  /** A request ended, so one place is free. */
  ended(): void {
    const now = this.now();
    const taken = now - this.last;
    this.interval = this.interval === 0 ? taken : this.interval + NEWEST * (taken - this.interval);
    this.last = now;
    this.turnedAway = Math.max(0, this.turnedAway - 1);
  }

  /** Whole seconds until one more request that is refused now is likely to find a place: as many as were refused before it have to end first. */
  retryAfter(): number {
    this.turnedAway++;
    // Nothing has ended for longer than usual: it will not go faster than that.
    const interval = Math.max(this.interval, this.now() - this.last);
    return Math.min(LONGEST_S, Math.max(1, Math.ceil((this.turnedAway * interval) / 1000)));
  }
}
