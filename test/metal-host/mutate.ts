/**
 * Mutations of MSL text: small changes that make a kernel wrong, as an emitter's mistake would. How many of them the checker or a comparison of
 * results finds measures the tests.
 */
import type { MslFunction, MslToken } from "./msl-tokens.ts";
import { closing, outline, tokenize } from "./msl-tokens.ts";

export interface Mutant {
  /** What kind of change: "barrier", "flag", "index", "guard", "simd", "literal", "buffers". */
  operator: string;
  line: number;
  description: string;
  text: string;
}

/** For each function of a simdgroup, one that it could be confused with. */
const CONFUSED: Record<string, string> = {
  simd_sum: "simd_max",
  simd_max: "simd_min",
  simd_min: "simd_max",
  simd_product: "simd_sum",
  simd_prefix_inclusive_sum: "simd_prefix_exclusive_sum",
  simd_prefix_exclusive_sum: "simd_prefix_inclusive_sum",
  simd_shuffle_up: "simd_shuffle_down",
  simd_shuffle_down: "simd_shuffle_up",
  simd_any: "simd_all",
  simd_all: "simd_any",
};
const FLAGS = ["mem_threadgroup", "mem_device", "mem_none"];

/** All mutants of the kernels in a text, in the order of the text. Helpers stay as they are. */
export function mutants(text: string): Mutant[] {
  const t = tokenize(text);
  const out: Mutant[] = [];
  const replace = (operator: string, from: number, to: number, by: string, description: string): void => {
    const end = t[to].at + t[to].text.length;
    out.push({ operator, line: t[from].line, description, text: text.slice(0, t[from].at) + by + text.slice(end) });
  };
  const source = (from: number, to: number): string => text.slice(t[from].at, t[to].at + t[to].text.length);
  for (const f of outline(t).functions) {
    if (!f.kernel) continue;
    buffers(t, f, replace);
    for (let i = f.body + 1; i < f.end; i++) statement(t, i, replace, source);
  }
  return out;
}

type Replace = (operator: string, from: number, to: number, by: string, description: string) => void;

function statement(t: readonly MslToken[], i: number, replace: Replace, source: (from: number, to: number) => string): void {
  const { text } = t[i];
  if (/^(threadgroup|simdgroup)_barrier$/.test(text)) {
    const end = closing(t, i + 1);
    replace("barrier", i, end, "", `no ${source(i, end)}`);
    for (const flag of FLAGS) {
      const now = source(i + 2, end - 1);
      if (text === "threadgroup_barrier" && now !== `mem_flags::${flag}` && !now.includes("|"))
        replace("flag", i, end, `${text}(mem_flags::${flag})`, `${flag} instead of ${now}`);
    }
  }
  if (text === "[" && t[i - 1].kind === "word" && t[i - 2]?.kind !== "word" && t[i + 1].text !== "[") {
    const end = closing(t, i);
    // `float tile[64]` declares; what is declared after a comma looks like an access, and a larger array is a mutant that changes nothing.
    if (end > i + 1 && !(t[i + 1].kind === "number" && end === i + 2))
      replace("index", i, end, `[(${source(i + 1, end - 1)}) + 1]`, `index ${source(i + 1, end - 1)} shifted by one`);
  }
  if (text === "if" && t[i + 1].text === "(")
    replace("guard", i + 1, closing(t, i + 1), "(true)", `no guard ${source(i + 1, closing(t, i + 1))}`);
  if (text === "?") {
    let from = i - 1;
    for (let depth = 0; from > 0; from--) {
      const x = t[from].text;
      if (/^[)\]]$/.test(x)) depth++;
      if (/^[([]$/.test(x) && depth-- === 0) break;
      if (depth === 0 && /^([=,;?:{}]|return|[-+*/]=)$/.test(x)) break;
    }
    replace("guard", from + 1, i, "true ?", `no mask ${source(from + 1, i - 1)}`);
  }
  if (
    text === "<" &&
    t[i + 1].text !== "<" &&
    /^[\w)\]]+$/.test(t[i - 1].text) &&
    !/^(as_type|static_cast|make_filled_simdgroup_matrix|simdgroup_matrix|vec)$/.test(t[i - 1].text)
  )
    replace("guard", i, i, "<=", "<= instead of <");
  if (text === "select" && t[i + 1].text === "(") {
    const end = closing(t, i + 1);
    let comma = end;
    for (let k = i + 2; k < end; k++) {
      if (/^[([{]$/.test(t[k].text)) k = closing(t, k);
      else if (t[k].text === ",") comma = k;
    }
    if (comma < end)
      replace("guard", comma + 1, end - 1, `!(${source(comma + 1, end - 1)})`, `select by the opposite of ${source(comma + 1, end - 1)}`);
  }
  if (CONFUSED[text] && t[i + 1].text === "(") replace("simd", i, i, CONFUSED[text], `${CONFUSED[text]} instead of ${text}`);
  if (text.startsWith("simd_shuffle") && t[i + 1].text === "(") {
    const end = closing(t, i + 1);
    replace("simd", end, end, " + 1)", `${text} from one lane further`);
  }
  if (/^simdgroup_(load|store)$/.test(text)) {
    const end = closing(t, i + 1);
    replace("index", end, end, " + 1)", `${text} with another row length`);
  }
  const loop = text === "+=" && t[i + 1].kind === "number" && /^\d+u?$/.test(t[i + 1].text) && Number.parseInt(t[i + 1].text) > 1;
  if (loop)
    replace(
      "literal",
      i + 1,
      i + 1,
      String(Number.parseInt(t[i + 1].text) * 2),
      `a step of ${Number.parseInt(t[i + 1].text) * 2} instead of ${t[i + 1].text}`,
    );
}

/** Two buffers of one type change places. */
function buffers(t: readonly MslToken[], f: MslFunction, replace: Replace): void {
  const seen = new Map<string, number>();
  for (let i = f.open; i < f.close; i++) {
    if (t[i].text !== "buffer" || t[i - 1].text !== "[") continue;
    // The type: what stands between the comma before and the name.
    let from = i;
    while (!/^[,(]$/.test(t[from - 1].text)) from--;
    const type = t
      .slice(from, i - 3)
      .map((x) => x.text)
      .filter((x) => x !== "const")
      .join(" ");
    const other = seen.get(type);
    if (other !== undefined) {
      // One edit only: the text between the two indices stays.
      const [a, b] = [t[other + 2], t[i + 2]];
      replace("buffers", other + 2, i + 2, b.text + between(t, other + 2, i + 2) + a.text, `buffers ${a.text} and ${b.text} exchanged`);
    }
    seen.set(type, i);
  }
}

/** The tokens between two, with single blanks: comments are lost, which does no harm. */
const between = (t: readonly MslToken[], from: number, to: number): string => {
  let out = "";
  for (let i = from + 1; i < to; i++) out += `${i > from + 1 && t[i].at > t[i - 1].at + t[i - 1].text.length ? " " : ""}${t[i].text}`;
  return out;
};

/** How a mutant was found: by the compiler, by the checker, by a wrong result, or not at all. */
export type Verdict = "compiler" | "checker" | "result" | "survived";

export interface Score {
  found: Record<Exclude<Verdict, "survived">, number>;
  survivors: Mutant[];
}

/** Runs every mutant through `judge` and counts. */
export function score(list: readonly Mutant[], judge: (m: Mutant) => Verdict): Score {
  const out: Score = { found: { compiler: 0, checker: 0, result: 0 }, survivors: [] };
  for (const m of list) {
    const verdict = judge(m);
    if (verdict === "survived") out.survivors.push(m);
    else out.found[verdict]++;
  }
  return out;
}

/** One line for a report. */
export const summary = (name: string, s: Score): string => {
  const { compiler, checker, result } = s.found;
  const all = compiler + checker + result + s.survivors.length;
  return `${name}: ${all - s.survivors.length} of ${all} mutants found (checker ${checker}, result ${result}, compiler ${compiler})`;
};
