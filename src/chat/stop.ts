/** Stop strings in streamed text. */

/**
 * Finds stop strings in text that comes in pieces; however it is cut, the outcome is the same. The stop string that is
 * complete first wins, of several that end together the longest. Text that could be the beginning of one is held back.
 */
export class StopMatcher {
  private readonly stops: readonly string[];
  private held = "";
  private done = false;

  constructor(stops: readonly string[]) {
    this.stops = stops.filter((s) => s !== "");
  }

  /** Text that can be shown: everything before the stop string, which is then named. After it nothing more comes out. */
  push(text: string): { text: string; stopped?: string } {
    if (this.done) return { text: "" };
    const all = this.held + text;
    let end = Infinity;
    let stopped = "";
    for (const s of this.stops) {
      const at = all.indexOf(s);
      if (at < 0) continue;
      if (at + s.length < end || (at + s.length === end && s.length > stopped.length)) [end, stopped] = [at + s.length, s];
    }
    if (stopped !== "") {
      this.done = true;
      this.held = "";
      return { text: all.slice(0, end - stopped.length), stopped };
    }
    const cut = all.length - this.stops.reduce((n, s) => Math.max(n, beginningAtEnd(all, s)), 0);
    this.held = all.slice(cut);
    return { text: all.slice(0, cut) };
  }

  /** What was held back, at the end of the text. */
  flush(): string {
    const held = this.held;
    this.held = "";
    return held;
  }
}

/** Length of the longest beginning of `marker`, short of the whole, that `text` ends with. */
export function beginningAtEnd(text: string, marker: string): number {
  for (let n = Math.min(marker.length - 1, text.length); n > 0; n--) if (text.endsWith(marker.slice(0, n))) return n;
  return 0;
}
