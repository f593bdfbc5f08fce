/** Calls with the name before the arguments: some text with the tool's name in it, then a JSON object. */
import type { CallReader, CallSink, ReaderState } from "./format.ts";
import { JsonCalls } from "./json-calls.ts";

/** Longest text before the arguments. */
const MAX_HEAD = 400;

/** `head` matches all that stands before the "{"; its first group that matched is the name. */
export class HeadedCall implements CallReader {
  private head = "";
  private json: JsonCalls | undefined;

  constructor(
    private readonly calls: CallSink,
    private readonly headed: RegExp,
  ) {}

  push(text: string): ReaderState {
    if (this.json) return this.state(this.json.push(text));
    this.head += text;
    const at = this.head.indexOf("{");
    if (at < 0 && this.head.length <= MAX_HEAD) return {};
    const name = this.headed
      .exec(this.head.slice(0, Math.max(at, 0)))
      ?.slice(1)
      .find((g) => g !== undefined);
    if (name === undefined) return { failed: this.head };
    this.json = new JsonCalls(this.calls, { name });
    const json = this.head.slice(at);
    this.head = this.head.slice(0, at);
    return this.state(this.json.push(json));
  }

  finish(): ReaderState {
    return this.json ? this.state(this.json.finish()) : { failed: this.head };
  }

  private state(s: ReaderState): ReaderState {
    return s.failed === undefined ? s : { failed: this.head + s.failed };
  }
}
