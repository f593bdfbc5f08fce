/** Fireworks FireFunction 2: ` functools[{"name": ..., "arguments": {...}}, ...]`. */
import type { CallReader, CallSink, ReaderState, MarkedFormat } from "./format.ts";
import { jsonGrammar } from "./grammar.ts";
import { JsonCalls } from "./json-calls.ts";

export const firefunction: MarkedFormat = {
  name: "firefunction",
  matches: (template) => template.includes("functools["),
  openers: ["functools["],
  closers: [],
  wordOpeners: true,
  reader: (_opener, calls) => new ListCalls(calls),
  grammar: jsonGrammar({
    before: " functools[",
    open: (name) => `{"name": ${JSON.stringify(name)}, "arguments": `,
    close: "}",
    between: ", ",
    after: "]",
  }),
};

/** A list whose bracket the opener has taken. */
class ListCalls implements CallReader {
  private readonly list: JsonCalls;

  constructor(calls: CallSink) {
    this.list = new JsonCalls(calls);
    this.list.push("[");
  }

  push(text: string): ReaderState {
    return this.state(this.list.push(text));
  }

  finish(): ReaderState {
    return this.state(this.list.finish());
  }

  private state(s: ReaderState): ReaderState {
    return s.failed === undefined ? s : { failed: s.failed.slice(1) };
  }
}
