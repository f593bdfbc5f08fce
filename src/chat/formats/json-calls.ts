/**
 * Calls as JSON objects, read while they arrive: `{"name": ..., "arguments": {...}}`, alone, in a list, or wrapped as
 * `{"type": "function", "function": {...}}`. Arguments pass through exactly as written, but for control characters in strings.
 */
import type { CallReader, CallSink, ReaderState } from "./format.ts";

export interface JsonCallsOptions {
  /** Marker that ends the calls; without one they end with the JSON. */
  closer?: string;
  /** Only names of declared tools make a call; anything else is text. */
  declaredOnly?: boolean;
  /** The name is known already; the text is the arguments alone. */
  name?: string;
}

const NAME_KEYS = ["name", "tool_name"];
const ARGUMENT_KEYS = ["arguments", "parameters", "args", "input"];
const WRAPPER_KEYS = ["function", "tool_call"];
/** Keys that may stand before the name; with others, an unmarked object is an answer and no call. */
const KNOWN_KEYS = [...NAME_KEYS, ...ARGUMENT_KEYS, ...WRAPPER_KEYS, "type", "id"];

type Phase = "start" | "object" | "key" | "colon" | "value" | "name" | "arguments" | "other" | "after" | "failed";

export class JsonCalls implements CallReader {
  private phase: Phase = "start";
  /** All text so far, for the case that it is no call. */
  private raw = "";
  /** What has not been looked at: the beginning of a closing marker. */
  private pending = "";
  private inList = false;
  /** Objects around the one that has the name. */
  private wrappers = 0;
  private key = "";
  private text = "";
  private escaped = false;
  /** Open brackets inside a value, innermost last; a quote while inside a string. */
  private open: string[] = [];
  private scalar = false;
  private name: string | undefined;
  /** Arguments that wait for the name. */
  private held = "";
  private argumentsSeen = false;
  private argumentsString = false;
  private started = false;
  /** Braces come in pairs, as small models copy them from a prompt that was a format string. */
  private doubled = false;
  private twin = "";

  constructor(
    private readonly calls: CallSink,
    private readonly options: JsonCallsOptions = {},
  ) {
    if (options.name === undefined) return;
    this.named(options.name);
    this.key = ARGUMENT_KEYS[0];
    this.phase = "value";
  }

  push(text: string): ReaderState {
    this.raw += text;
    const { closer = "" } = this.options;
    const s = this.pending + text;
    this.pending = "";
    for (let i = 0; i < s.length; i++) {
      const c = s[i];
      if (c === closer[0] && this.outside()) {
        if (s.startsWith(closer, i)) return this.closed(s.slice(i + closer.length));
        if (closer.startsWith(s.slice(i))) {
          this.pending = s.slice(i);
          break;
        }
      }
      if (this.doubled && this.isTwin(c)) continue;
      if (this.phase !== "after") this.step(c);
      else if (c === "]" && this.inList) {
        this.inList = false;
        if (closer === "") return { rest: s.slice(i + 1) };
      } else if (c === "{" && this.options.name === undefined) {
        this.nextCall();
        this.step(c);
      } else if (!isSpace(c) && !((c === "," || c === ";") && this.options.name === undefined)) return { rest: s.slice(i) };
      if (this.phase === "failed") return this.fail();
    }
    this.flushArguments();
    return {};
  }

  finish(): ReaderState {
    if (this.phase === "after") return { rest: "" };
    if (!this.argumentsSeen || this.open.length > 0 || this.name === undefined) return this.fail();
    this.endCall();
    return { rest: "" };
  }

  /** The second brace of a pair, in a call whose braces are all doubled. */
  private isTwin(c: string): boolean {
    const twin = c === this.twin && this.outside();
    this.twin = !twin && (c === "{" || c === "}") && this.outside() ? c : "";
    return twin;
  }

  /** Outside of strings and keys, where a marker cannot be part of the JSON. */
  private outside(): boolean {
    return this.phase !== "key" && this.phase !== "name" && this.open.at(-1) !== '"';
  }

  private nextCall(): void {
    this.phase = "start";
    this.wrappers = 0;
    this.name = undefined;
    this.held = this.key = this.twin = "";
    this.doubled = false;
    this.argumentsSeen = this.argumentsString = this.started = false;
  }

  /** The closing marker has come. What the model left open is closed for it. */
  private closed(rest: string): ReaderState {
    if (this.phase === "after") return { rest };
    const midway = !this.argumentsSeen && this.phase !== "object" && this.phase !== "arguments";
    if (this.name === undefined || midway) return this.fail();
    if (this.phase === "arguments") {
      this.text += this.open
        .splice(0)
        .reverse()
        .map((b) => (b === "{" ? "}" : "]"))
        .join("");
      this.endValue();
    }
    this.endCall();
    return { rest };
  }

  private fail(): ReaderState {
    if (this.started) this.calls.abandon();
    return { failed: this.raw };
  }

  private step(c: string): void {
    const space = isSpace(c);
    switch (this.phase) {
      case "start":
        if (c === "{") this.phase = "object";
        else if (c === "[" && !this.inList) this.inList = true;
        else if (!space) this.phase = "failed";
        return;
      case "object":
        if (c === '"') {
          this.phase = "key";
          this.text = "";
        } else if (c === "}") this.closeObject();
        else if (c === "{" && this.key === "") this.doubled = true;
        else if (!space && c !== ",") this.phase = "failed";
        return;
      case "key":
        if (this.string(c)) {
          this.key = this.text;
          this.phase = this.options.declaredOnly && this.name === undefined && !KNOWN_KEYS.includes(this.key) ? "failed" : "colon";
        }
        return;
      case "colon":
        if (c === ":") this.phase = "value";
        else if (!space) this.phase = "failed";
        return;
      case "value":
        if (!space) this.beginValue(c);
        return;
      case "name":
        if (this.string(c)) this.named(decode(this.text).trim());
        return;
      case "arguments":
      case "other":
        this.inValue(c);
        return;
    }
  }

  /** Collects a string's inside; true at its closing quote. */
  private string(c: string): boolean {
    if (this.escaped) this.escaped = false;
    else if (c === "\\") this.escaped = true;
    else if (c === '"') return true;
    this.text += c;
    return false;
  }

  private beginValue(c: string): void {
    this.text = "";
    if (NAME_KEYS.includes(this.key) && c === '"' && this.name === undefined) {
      this.phase = "name";
      return;
    }
    if (WRAPPER_KEYS.includes(this.key) && c === "{" && this.name === undefined) {
      this.wrappers++;
      this.phase = "object";
      return;
    }
    this.phase = ARGUMENT_KEYS.includes(this.key) && !this.argumentsSeen ? "arguments" : "other";
    if (this.phase === "arguments") this.argumentsString = c === '"';
    this.open = [];
    this.scalar = c !== "{" && c !== "[" && c !== '"';
    if (this.scalar) this.text = c;
    else this.inValue(c);
  }

  private inValue(c: string): void {
    if (this.scalar && this.open.length === 0 && (c === "," || c === "}" || c === "]")) {
      this.endValue();
      this.step(c);
      return;
    }
    const top = this.open.at(-1);
    // A line break inside of a string has to be escaped; models forget that.
    const control = top === '"' && c < " " ? JSON.stringify(c).slice(1, -1) : "";
    this.text += control === "" ? c : this.escaped ? control.slice(1) : control;
    if (top === '"') {
      if (this.escaped) this.escaped = false;
      else if (c === "\\") this.escaped = true;
      else if (c === '"') this.open.pop();
    } else if (c === '"' || c === "{" || c === "[") this.open.push(c);
    else if (c === "}" || c === "]") this.open.pop();
    if (this.open.length === 0 && !this.scalar) this.endValue();
  }

  private endValue(): void {
    if (this.phase === "arguments") {
      this.argumentsSeen = true;
      if (this.argumentsString) this.text = decode(this.text.slice(1, -1));
      else if (this.scalar && this.text.trim() === "null") this.text = "{}";
      this.argumentsString = this.scalar = false;
      this.flushArguments();
    }
    this.scalar = false;
    this.text = "";
    this.phase = "object";
    if (this.options.name !== undefined) this.endCall();
  }

  private named(name: string): void {
    this.text = "";
    this.phase = "object";
    if (name === "" || (this.options.declaredOnly && !this.calls.isTool(name))) {
      this.phase = "failed";
      return;
    }
    this.name = name;
    this.started = true;
    this.calls.start(name);
    this.calls.arguments(this.held);
    this.held = "";
  }

  /** Hands on the arguments that are there; string values and scalars only when they are whole. */
  private flushArguments(): void {
    if (this.phase !== "arguments" || this.argumentsString || this.scalar) return;
    if (this.name === undefined) this.held += this.text;
    else this.calls.arguments(this.text);
    this.text = "";
  }

  private closeObject(): void {
    if (this.wrappers > 0 && this.name !== undefined) {
      this.wrappers--;
      return;
    }
    if (this.name === undefined) this.phase = "failed";
    else this.endCall();
  }

  private endCall(): void {
    if (!this.argumentsSeen) this.calls.arguments("{}");
    this.calls.end();
    this.started = false;
    this.phase = "after";
  }
}

const isSpace = (c: string) => c === " " || c === "\n" || c === "\t" || c === "\r";

/** The text of a JSON string's inside; as it stands when it is not proper JSON. */
function decode(inside: string): string {
  try {
    return JSON.parse(`"${inside.replaceAll("\n", "\\n").replaceAll("\t", "\\t")}"`) as string;
  } catch {
    return inside;
  }
}
