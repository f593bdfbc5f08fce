/** The table of commands. To add one: its file in commands/, and a line here. */
import type { Context } from "./context.ts";
import type { Command } from "./strict.ts";

export interface CommandEntry {
  /** One line for `alloy --help`, here so that help loads no command. A test keeps it equal to the command's own. */
  summary: string;
  load(): Promise<Command<Context>>;
}

/** By name, without a prototype: `alloy constructor` finds nothing. In the order of the help. */
export const COMMANDS: Readonly<Record<string, CommandEntry>> = Object.assign(Object.create(null), {
  run: { summary: "answer a prompt, or chat", load: async () => (await import("./commands/run.ts")).default },
  serve: {
    summary: "serve models over the OpenAI, Anthropic and Ollama APIs",
    load: async () => (await import("./commands/serve.ts")).default,
  },
  service: {
    summary: "keep a server running: install, uninstall, status",
    load: async () => (await import("./commands/service.ts")).default,
  },
  launch: {
    summary: "start a coding tool (claude, codex, aider ...) on a local model",
    load: async () => (await import("./commands/launch.ts")).default,
  },
  pull: { summary: "download a model", load: async () => (await import("./commands/pull.ts")).default },
  list: { summary: "list the models on this machine", load: async () => (await import("./commands/list.ts")).default },
  show: { summary: "show what a model is", load: async () => (await import("./commands/show.ts")).default },
  ps: { summary: "list the models that a running server has loaded", load: async () => (await import("./commands/ps.ts")).default },
  create: {
    summary: "make a model from another one, with its own settings",
    load: async () => (await import("./commands/create.ts")).default,
  },
  cp: { summary: "give a model another name", load: async () => (await import("./commands/cp.ts")).default },
  rm: { summary: "delete models from Alloy's store", load: async () => (await import("./commands/rm.ts")).default },
  bench: { summary: "measure prefill and decode speed", load: async () => (await import("./commands/bench.ts")).default },
  tokenize: { summary: "turn text into token ids, and back", load: async () => (await import("./commands/tokenize.ts")).default },
  logits: { summary: "print a model's logits and greedy tokens", load: async () => (await import("./commands/logits.ts")).default },
  inspect: { summary: "show a kernel at each stage of its compilation", load: async () => (await import("./commands/inspect.ts")).default },
  doctor: { summary: "check that this machine has what Alloy needs", load: async () => (await import("./commands/doctor.ts")).default },
  version: { summary: "print the version", load: async () => (await import("./commands/version.ts")).default },
} satisfies Record<string, CommandEntry>);
