/** The interactive chat of `alloy run`: reads lines, understands /commands, streams answers. */
import type { ChatMessage, Thinking } from "../chat/api.ts";
import type { Engine, SamplingParams } from "../engine/api.ts";
import { AlloyError, suggest } from "../support/errors.ts";
import { answer, timingLine } from "./answer.ts";
import { printError, type Context } from "./context.ts";
import { EXIT } from "./exit.ts";

export interface ChatSettings {
  model: string;
  system?: string;
  sampling: Partial<SamplingParams>;
  maxTokens?: number;
  thinking?: Thinking;
  verbose: boolean;
}

interface Session extends ChatSettings {
  /** Turns so far, without the system message. */
  turns: ChatMessage[];
}

const HELP = `  /clear            forget the conversation
  /system [text]    set the system message; without text, remove it
  /set name value   change a setting: ${["temperature", "top-p", "top-k", "min-p", "seed", "max-tokens", "think", "verbose"].join(", ")}
  /show             show the model and the settings
  /help             show this
  /bye              leave (Ctrl-D too)
  """               begin and end a text of several lines
Ctrl-C stops an answer; the arrow keys walk through earlier lines.
`;

/** Chats until the user leaves; returns the exit code. */
export async function chat(engine: Engine, settings: ChatSettings, context: Context): Promise<number> {
  const { io, style } = context;
  const session: Session = { ...settings, turns: [] };
  io.err(style.dim(`${settings.model}: type a message, /help for help, Ctrl-D to leave\n`));
  for (;;) {
    const read = await readMessage(context);
    if (read === "end") {
      io.out("\n");
      return EXIT.ok;
    }
    if (read === "interrupt") {
      io.err(style.dim("Ctrl-D or /bye leaves\n"));
      continue;
    }
    const message = read.text.trim();
    if (message === "") continue;
    if (message.startsWith("/") && !message.includes("\n")) {
      if (slashCommand(message, session, context) === "leave") return EXIT.ok;
      continue;
    }
    await turn(engine, session, message, context);
  }
}

/** One exchange. What a stopped answer said stays in the conversation; a failed one leaves no trace. */
async function turn(engine: Engine, session: Session, message: string, context: Context): Promise<void> {
  const { io, style } = context;
  const stop = new AbortController();
  const forget = io.onInterrupt(() => stop.abort());
  const messages: ChatMessage[] = session.system === undefined ? [] : [{ role: "system", content: session.system }];
  const user: ChatMessage = { role: "user", content: message };
  try {
    const result = await answer(engine, { ...session, messages: [...messages, ...session.turns, user], signal: stop.signal }, context);
    if (stop.signal.aborted) io.err(style.dim("(stopped)\n"));
    if (session.verbose) io.err(style.dim(timingLine(result)));
    if (result.text !== "" || result.toolCalls.length > 0) {
      const said: ChatMessage = { role: "assistant", content: result.text };
      if (result.reasoning !== "") said.reasoning = result.reasoning;
      session.turns.push(user, said);
    }
  } catch (error) {
    const known = AlloyError.from(error);
    printError(io, style, false, known);
    if (known.code === "context_length_exceeded") io.err(`${style.dim("hint:")} /clear begins a new conversation\n`);
  } finally {
    forget();
  }
}

type Read = { text: string } | "end" | "interrupt";

/** A line, or all lines between two `"""`. */
async function readMessage({ io }: Context): Promise<Read> {
  const first = await io.readLine(">>> ");
  if (typeof first === "string" || !first.text.startsWith('"""')) return first;
  const lines = [first.text.slice(3)];
  while (!lines.at(-1)!.endsWith('"""') || (lines.length === 1 && lines[0] === "")) {
    const next = await io.readLine("... ");
    if (typeof next === "string") return next;
    lines.push(next.text);
  }
  return { text: lines.join("\n").slice(0, -3) };
}

function slashCommand(line: string, session: Session, context: Context): "leave" | undefined {
  const { io, style } = context;
  const [word, ...rest] = line.slice(1).split(/\s+/);
  const text = line.slice(1 + word.length).trim();
  const say = (what: string) => io.err(style.dim(what + "\n"));
  switch (word) {
    case "bye":
    case "exit":
    case "quit":
      return "leave";
    case "help":
    case "?":
      io.err(HELP);
      return;
    case "clear":
      session.turns = [];
      say("conversation forgotten");
      return;
    case "system":
      session.system = text === "" ? undefined : text;
      say(text === "" ? "system message removed" : "system message set");
      return;
    case "set":
      try {
        say(setSetting(session, rest[0], rest[1]));
      } catch (error) {
        printError(io, style, false, AlloyError.from(error));
      }
      return;
    case "show":
      io.err(describe(session));
      return;
  }
  const near = suggest(word, ["bye", "exit", "quit", "help", "clear", "system", "set", "show"]);
  printError(
    io,
    style,
    false,
    new AlloyError("bad_argument", `unknown command /${word}`, {
      hint: near === undefined ? "/help lists the commands" : `did you mean /${near}?`,
    }),
  );
}

/** Settings that are numbers: [lowest, highest, whole]. */
const NUMBERS = {
  temperature: [0, 100, false],
  "top-p": [0, 1, false],
  "top-k": [0, Infinity, true],
  "min-p": [0, 1, false],
  seed: [0, Number.MAX_SAFE_INTEGER, true],
  "max-tokens": [1, Infinity, true],
} as const;
const SAMPLING_NAME = { temperature: "temperature", "top-p": "topP", "top-k": "topK", "min-p": "minP", seed: "seed" } as const;
const SWITCHES = ["think", "verbose"];

/** Changes one setting and says so. Throws `bad_argument`. */
function setSetting(session: Session, name: string | undefined, value: string | undefined): string {
  const names = [...Object.keys(NUMBERS), ...SWITCHES];
  if (name === undefined || !names.includes(name)) {
    const near = name === undefined ? undefined : suggest(name, names);
    const hint = near === undefined ? `settings are ${names.join(", ")}` : `did you mean ${near}?`;
    throw new AlloyError("bad_argument", name === undefined ? "/set needs a name and a value" : `there is no setting "${name}"`, { hint });
  }
  if (SWITCHES.includes(name)) {
    if (value !== "on" && value !== "off") throw new AlloyError("bad_argument", `${name} is on or off, got "${value ?? ""}"`);
    if (name === "think") session.thinking = value;
    else session.verbose = value === "on";
    return `${name} is ${value}`;
  }
  const key = name as keyof typeof NUMBERS;
  const [low, high, whole] = NUMBERS[key];
  const number = value === undefined ? NaN : Number(value);
  if (!(number >= low && number <= high) || (whole && !Number.isSafeInteger(number))) {
    const range = high < 1e9 ? `between ${low} and ${high}` : `from ${low}`;
    throw new AlloyError("bad_argument", `${name} must be a ${whole ? "whole " : ""}number ${range}, got "${value ?? ""}"`);
  }
  if (key === "max-tokens") session.maxTokens = number;
  else session.sampling[SAMPLING_NAME[key]] = number;
  return `${name} is ${number}`;
}

function describe(session: Session): string {
  const rows: [string, unknown][] = [
    ["model", session.model],
    ["messages", session.turns.length],
    ["system", session.system],
    ...Object.entries(SAMPLING_NAME).map(([name, key]): [string, unknown] => [name, session.sampling[key]]),
    ["max-tokens", session.maxTokens],
    ["think", session.thinking],
    ["verbose", session.verbose ? "on" : "off"],
  ];
  return rows.map(([name, value]) => `  ${name.padEnd(12)} ${value === undefined ? "(default)" : String(value)}\n`).join("");
}
