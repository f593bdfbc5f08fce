/** Help texts: of the program, and of one command. Written from the same description that the arguments are checked with. */
import type { Style } from "./context.ts";
import { valueName, type ArgSpec, type ArgSpecs, type Command, type Positional } from "./strict.ts";

/** Options that every command takes. */
export const GLOBAL_ARGS = {
  help: { type: "boolean", alias: "h", description: "Show help and exit" },
  json: { type: "boolean", description: "Print JSON on standard output, errors too" },
  color: {
    type: "boolean",
    negatable: true,
    description: "Colour the output, or not (default: when it is a terminal; NO_COLOR is obeyed)",
  },
} as const satisfies ArgSpecs;

/** Widest line of a help page. */
const WIDTH = 100;

/** The page behind `alloy --help`. */
export function programHelp(commands: readonly { name: string; summary: string }[], version: string, style: Style): string {
  const width = Math.max(...commands.map((c) => c.name.length));
  const lines = commands.map((c) => `  ${c.name.padEnd(width)}  ${c.summary}`);
  return `${style.bold("alloy")} ${version}: run language models on your own machine

${style.bold("Usage")}
  alloy <command> [options]

${style.bold("Commands")}
${lines.join("\n")}

${style.bold("Start here")}
  alloy run "What is the capital of France?"   answer a question with the built-in demo model
  alloy run ./model.gguf                       chat with a model of your own
  alloy serve                                  OpenAI, Anthropic and Ollama APIs on http://127.0.0.1:11434

${style.bold("Everywhere")}
  -h, --help      help of a command: alloy run --help
  -V, --version   print the version
  --json          print JSON on standard output
  --no-color      no colours (NO_COLOR works too)

Exit codes: 0 done, 1 failed, 2 called wrongly, 130 stopped with Ctrl-C.
`;
}

/** The page behind `alloy COMMAND --help`. */
export function commandHelp<C>(command: Command<C>, style: Style): string {
  const { name, summary, description, args, examples } = command.spec;
  const positionals = Object.entries(args).filter((e): e is [string, Positional] => e[1].type === "positional");
  const all: ArgSpecs = { ...args, ...GLOBAL_ARGS };
  const options = Object.entries(all).filter(([, s]) => s.type !== "positional");
  const usage = positionals.map(([n, s]) => positionalLabel(n, s));
  const parts = [
    `${style.bold(`alloy ${name}`)}: ${summary}`,
    `${style.bold("Usage")}\n  alloy ${name} ${["[options]", ...usage].join(" ")}`,
  ];
  if (description !== undefined) parts.push(wrap(description.replaceAll("\n", " "), WIDTH).join("\n"));
  if (positionals.length > 0)
    parts.push(`${style.bold("Arguments")}\n${columns(positionals.map(([n, s]) => [positionalLabel(n, s), s.description]))}`);
  parts.push(`${style.bold("Options")}\n${columns(options.map(([n, s]) => [optionLabel(n, s), s.description + defaultNote(s)]))}`);
  if (examples.length > 0)
    parts.push(`${style.bold("Examples")}\n${examples.map(([c, what]) => `  ${style.dim(`# ${what}`)}\n  ${c}`).join("\n")}`);
  return parts.join("\n\n") + "\n";
}

function positionalLabel(name: string, spec: Positional): string {
  if (spec.label !== undefined) return spec.label;
  const label = name.toUpperCase() + (spec.rest ? "..." : "");
  return spec.required ? label : `[${label}]`;
}

function optionLabel(name: string, spec: ArgSpec): string {
  if (spec.type === "positional") return name;
  const short = spec.alias === undefined ? "    " : `-${spec.alias}, `;
  if (spec.type !== "boolean") return `${short}--${name} ${valueName(spec)}`;
  return spec.negatable ? `${short}--${name}, --no-${name}` : `${short}--${name}`;
}

function defaultNote(spec: ArgSpec): string {
  if (!("default" in spec) || spec.default === undefined || spec.default === false) return "";
  return ` (default: ${Array.isArray(spec.default) ? spec.default.join(",") : String(spec.default)})`;
}

/** Two columns; long descriptions wrap under themselves. */
function columns(rows: readonly (readonly [string, string])[]): string {
  const left = Math.min(32, Math.max(...rows.map(([a]) => a.length)));
  const room = WIDTH - left - 4;
  return rows
    .map(([label, text]) => {
      const lines = wrap(text, room);
      const head = label.length > left ? `  ${label}\n  ${" ".repeat(left)}  ${lines[0]}` : `  ${label.padEnd(left)}  ${lines[0]}`;
      return [head, ...lines.slice(1).map((l) => `  ${" ".repeat(left)}  ${l}`)].join("\n");
    })
    .join("\n");
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  lines.push(line);
  return lines;
}
