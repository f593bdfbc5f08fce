/** Pre-tokenisation: steps that cut text into words. */

/** Appends the parts of `text` to `out`. `first`: the text stands at the start of the whole input. */
export type Splitter = (text: string, out: string[], first: boolean) => void;

export type SplitBehavior = "Isolated" | "Removed" | "MergedWithPrevious" | "MergedWithNext" | "Contiguous";

/** Runs the steps one after another, each on the parts that the one before made. */
export function chain(steps: readonly Splitter[]): Splitter {
  if (steps.length === 1) return steps[0];
  return (text, out, first) => {
    let parts = [text];
    for (const step of steps) {
      const next: string[] = [];
      for (let i = 0; i < parts.length; i++) step(parts[i], next, first && i === 0);
      parts = next;
    }
    for (let i = 0; i < parts.length; i++) out.push(parts[i]);
  };
}

/** Parts up to this length are mostly words, which come again. */
const MAX_REMEMBERED = 32;
const MAX_PARTS = 1 << 16;

/**
 * The same for steps that look at nothing but the part: from the third step on, what becomes of a short part is
 * remembered, so that a chain of six expressions costs hardly more than two.
 */
export function rememberingChain(steps: readonly Splitter[]): Splitter {
  if (steps.length < 3) return chain(steps);
  const head = chain(steps.slice(0, 2));
  const tail = chain(steps.slice(2));
  const known = new Map<string, readonly string[]>();
  return (text, out, first) => {
    const parts: string[] = [];
    head(text, parts, first);
    for (let i = 0; i < parts.length; i++) {
      const part = parts[i];
      if (part.length > MAX_REMEMBERED) {
        tail(part, out, false);
        continue;
      }
      let words = known.get(part);
      if (!words) {
        if (known.size >= MAX_PARTS) known.clear();
        // A copy: a part is a view that would keep the whole text.
        const copy = (" " + part).slice(1);
        const made: string[] = [];
        tail(copy, made, false);
        known.set(copy, (words = made));
      }
      for (let k = 0; k < words.length; k++) out.push(words[k]);
    }
  };
}

/** Matches become words, and so does what lies between them. `re` has flag g. */
export function isolate(re: RegExp): Splitter {
  // Most expressions leave nothing between their matches; for those the engine's own list of matches is fastest.
  let covering = true;
  return (text, out) => {
    if (covering) {
      const words = text.match(re);
      let length = 0;
      if (words) for (let i = 0; i < words.length; i++) length += words[i].length;
      if (words && length === text.length) {
        for (let i = 0; i < words.length; i++) out.push(words[i]);
        return;
      }
      covering = false;
    }
    cut(text, re, (from, to) => out.push(from === 0 && to === text.length ? text : text.slice(from, to)));
  };
}

/** A Split step as tokenizer.json defines it. `invert`: the pattern describes the words instead of the separators. */
export function split(re: RegExp, behavior: SplitBehavior, invert = false): Splitter {
  if (behavior === "Isolated") return isolate(re);
  return (text, out) => {
    const spans: { from: number; to: number; separator: boolean }[] = [];
    cut(text, re, (from, to, match) => spans.push({ from, to, separator: match !== invert }));
    let open: { from: number; to: number } | undefined;
    let previous = false;
    const close = () => {
      if (open && open.to > open.from) out.push(text.slice(open.from, open.to));
      open = undefined;
    };
    for (const { from, to, separator } of spans) {
      const joins =
        open !== undefined &&
        ((behavior === "MergedWithPrevious" && separator && !previous) ||
          (behavior === "MergedWithNext" && !separator && previous) ||
          (behavior === "Contiguous" && separator === previous));
      if (joins && open) open.to = to;
      else {
        close();
        if (!(behavior === "Removed" && separator)) open = { from, to };
      }
      previous = separator;
    }
    close();
  };
}

/** Digit runs in groups of three counted from the right: "1234567" is "1", "234", "567". */
export const digitsFromRight: Splitter = (text, out) => {
  cut(text, /\p{N}+/gu, (from, to, match) => {
    if (!match) return void out.push(text.slice(from, to));
    const digits = Array.from(text.slice(from, to));
    for (let end = digits.length % 3 || 3, i = 0; i < digits.length; i = end, end += 3) out.push(digits.slice(i, end).join(""));
  });
};

/** Calls `part` for every match and every gap, in order. An empty match only ends the gap before it. */
function cut(text: string, re: RegExp, part: (from: number, to: number, match: boolean) => void): void {
  let last = 0;
  re.lastIndex = 0;
  for (let m = re.exec(text); m; m = re.exec(text)) {
    const end = m.index + m[0].length;
    if (m.index > last) part(last, m.index, false);
    if (end > m.index) part(m.index, end, true);
    else re.lastIndex = end + ((text.codePointAt(end) ?? 0) > 0xffff ? 2 : 1);
    last = end;
  }
  if (last < text.length) part(last, text.length, false);
}
