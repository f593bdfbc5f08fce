/** Messages between the engine and a worker for grammars. A matcher's states come in the order of what it was sent. */
import type { Vocabulary } from "./vocabulary.ts";

/** What may come next. */
export interface MatcherState {
  /** The tokens that may come next, a bit each. End tokens are among them where the text may end. */
  mask: Int32Array;
  /** The text that has to come next; "" where there is a choice. */
  forced: string;
}

export type ToGrammars =
  /** The first message. `memory`: bytes that the module's memory may grow to. */
  | { type: "open"; vocabulary: Vocabulary; memory: number }
  /** Compiles a grammar in EBNF; later messages name it by its text. */
  | { type: "compile"; ebnf: string }
  /** A matcher at the beginning of a compiled grammar; its state follows. */
  | { type: "match"; matcher: number; ebnf: string }
  /** Tokens that were drawn; the state behind them follows. */
  | { type: "accept"; matcher: number; tokens: number[] }
  | { type: "free"; matcher: number };

export type FromGrammars =
  | { type: "ready" }
  | { type: "compiled"; bytes: number }
  /** The grammar was not compiled. */
  | { type: "failed"; message: string }
  | ({ type: "state"; matcher: number } & MatcherState)
  /** A token does not follow, or the module failed: the matcher is of no more use. */
  | { type: "lost"; matcher: number; message: string };
