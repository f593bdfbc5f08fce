/** `alloy launch`: a coding tool on a local model. */
import { rmSync } from "node:fs";
import { clientUrl, listenAddress } from "../../server/listen.ts";
import { AlloyError, suggest } from "../../support/errors.ts";
import { table, type Context } from "../context.ts";
import { findEndpoint, writeToolFile } from "../launching.ts";
import { probe } from "../probe.ts";
import { requireModel } from "../pulling.ts";
import { strictCommand, UsageError } from "../strict.ts";
import { GENERIC_TOOL, TOOLS, type Tool } from "../tools.ts";

export default strictCommand({
  name: "launch",
  summary: "start a coding tool (claude, codex, aider ...) on a local model",
  description: `Uses the Alloy server that runs on this machine, or starts one for as long as the tool runs; sets the tool's own variables and settings
for it, and passes on its exit code. Arguments for the tool go after --. Tools: ${[...Object.keys(TOOLS), "exec"].join(", ")};
exec starts any other program with the variables that OpenAI, Anthropic and Ollama client libraries read.`,
  args: {
    tool: { type: "positional", description: "The tool; left out, the list of tools is printed" },
    args: { type: "positional", rest: true, label: "[-- ARGS...]", description: "Arguments for the tool, after --" },
    model: {
      type: "string",
      alias: "m",
      hint: "model",
      description: "The model (default: the one that is loaded, or the only one; else it is asked for)",
    },
    host: { type: "string", hint: "address", description: "Server to use (default: ALLOY_HOST, OLLAMA_HOST or 127.0.0.1)" },
    port: { type: "integer", alias: "p", hint: "number", min: 1, max: 65535, description: "Its port (default: 11434)" },
    ctx: { type: "integer", alias: "c", hint: "tokens", min: 16, description: "Context window, if a server has to be started" },
    print: { type: "boolean", description: "Print the variables and the command line instead of starting the tool" },
  },
  examples: [
    ["alloy launch claude -m ./qwen3-coder.gguf", "Claude Code on a model file"],
    ["alloy launch aider -m demo -- --no-git", "arguments after -- are aider's"],
    ["alloy launch exec -m demo -- python agent.py", "your own program"],
  ],
  async run(args, context: Context) {
    const { io, json, style, deps } = context;
    if (args.tool === undefined) {
      listTools(context);
      return 0;
    }
    const { tool, program, user } = findTool(args.tool, args.args);
    const path = Bun.which(program, { PATH: io.env.PATH ?? "" });
    if (path === null && !args.print) {
      const how = "install" in tool ? `install it with: ${tool.install}` : "check its name and PATH";
      throw new AlloyError("not_found", `"${program}" is not installed (not found in PATH)`, { hint: how });
    }

    const { host, port } = listenAddress(io.env);
    const url = clientUrl({ host: args.host ?? host, port: args.port ?? port });
    const found = await probe(url);
    const chosen = args.host !== undefined || args.port !== undefined;
    if (found.kind !== "alloy" && chosen) {
      const who = found.kind === "nobody" ? "nothing listens" : found.kind === "ollama" ? "an Ollama listens" : "another program listens";
      throw new AlloyError("not_found", `${who} at ${url}, no Alloy`, {
        hint: "start `alloy serve` there, or leave --host and --port out",
      });
    }
    let stop = async () => {};
    let server = url;
    let { model } = args;
    if (found.kind !== "alloy") {
      if (model !== undefined) await requireModel(model, context);
      const engine = await deps.createEngine({ contextLength: args.ctx, models: args.model === undefined ? [] : [args.model] });
      try {
        const running = await deps.startServer(engine, { host: "127.0.0.1", port: 0 });
        server = running.url;
        // A file given by its path goes by another name.
        if (model !== undefined) ({ name: model } = await engine.model(model));
        stop = async () => {
          await running.stop(0);
          await engine.close(0);
        };
      } catch (error) {
        await engine.close(0);
        throw error;
      }
    }
    try {
      if (!json && !args.print && io.stdoutIsTty) io.err(style.dim(`getting ${model ?? "a model"} ready ...\n`));
      const endpoint = await findEndpoint(server, model, context);
      if (endpoint.context < tool.needsContext && !json) {
        io.err(
          style.yellow(
            `alloy: ${args.tool} wants at least ${tool.needsContext} tokens of context; ${endpoint.model} has ${endpoint.context}\n`,
          ),
        );
      }
      // The server that was started just to ask is gone when what is printed gets used.
      if (args.print) endpoint.url = url;
      const env = { ...unset(tool.defaults?.(endpoint) ?? {}, io.env), ...tool.env(endpoint) };
      const file = writeToolFile(tool, endpoint, io.env, args.print ? undefined : `${args.tool}-${process.pid}`);
      const argv = tool.args(endpoint, user, file);
      if (args.print) {
        if (server !== url && !json) io.err(`alloy: no Alloy runs at ${url}: start \`alloy serve\` first\n`);
        printPlan(env, [program, ...argv], context);
        return 0;
      }
      try {
        return await spawnTool([path!, ...argv], { ...io.env, ...env }, context);
      } finally {
        if (file !== "") rmSync(file, { force: true });
      }
    } finally {
      await stop();
    }
  },
});

/** Those variables that the user has not set. */
function unset(defaults: Record<string, string>, env: Context["io"]["env"]): Record<string, string> {
  return Object.fromEntries(Object.entries(defaults).filter(([name]) => env[name] === undefined));
}

function findTool(
  name: string,
  rest: readonly string[],
): { tool: Omit<Tool, "program" | "install">; program: string; user: readonly string[] } {
  const tool = TOOLS[name];
  if (tool !== undefined) return { tool, program: tool.program, user: rest };
  if (name === "exec") {
    if (rest.length === 0) throw new UsageError("exec needs a program", "for example: alloy launch exec -m demo -- python agent.py");
    return { tool: GENERIC_TOOL, program: rest[0], user: rest.slice(1) };
  }
  const near = suggest(name, Object.keys(TOOLS));
  throw new UsageError(
    `there is no tool "${name}"`,
    near === undefined
      ? `tools are ${Object.keys(TOOLS).join(", ")}; any other program: alloy launch exec -- ${name}`
      : `did you mean ${near}?`,
  );
}

/** Runs the tool on this terminal. Ctrl-C is the tool's business while it runs. */
async function spawnTool(command: string[], env: Record<string, string | undefined>, { io }: Context): Promise<number> {
  const child = Bun.spawn(command, { env, stdio: ["inherit", "inherit", "inherit"] });
  const forget = io.onInterrupt((signal) => {
    if (signal === "SIGTERM") child.kill("SIGTERM");
  });
  try {
    await child.exited;
  } finally {
    forget();
  }
  if (child.exitCode !== null) return child.exitCode;
  return 128 + (SIGNAL_NUMBERS[child.signalCode ?? ""] ?? 0);
}

/** As shells report a program that a signal ended. */
const SIGNAL_NUMBERS: Record<string, number> = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGABRT: 6, SIGKILL: 9, SIGSEGV: 11, SIGTERM: 15 };

function printPlan(env: Record<string, string>, command: string[], { io, json }: Context): void {
  if (json) {
    io.out(JSON.stringify({ env, command }) + "\n");
    return;
  }
  const quote = (word: string) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);
  for (const [name, value] of Object.entries(env)) io.out(`export ${name}=${quote(value)}\n`);
  io.out(command.map(quote).join(" ") + "\n");
}

function listTools({ io, json }: Context): void {
  const rows = Object.entries(TOOLS).map(([name, t]) => ({
    name,
    summary: t.summary,
    installed: Bun.which(t.program, { PATH: io.env.PATH ?? "" }) !== null,
    install: t.install,
  }));
  if (json) io.out(JSON.stringify({ tools: rows }) + "\n");
  else {
    const lines = rows.map((r) => [r.name, r.installed ? "yes" : "no", r.summary]);
    io.out(table(["TOOL", "INSTALLED", "WHAT"], [...lines, ["exec", "", GENERIC_TOOL.summary]]));
  }
}
