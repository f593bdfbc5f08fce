/** `alloy serve`. */
import { listenAddress } from "../../server/listen.ts";
import { createLogger, levelFromEnv, LOG_FORMATS, LOG_LEVELS, type LogFormat, type Logger, type LogLevel } from "../../server/log.ts";
import { VERSION } from "../../support/version.ts";
import { printJson, wantsColor, type Context, type Io } from "../context.ts";
import type { CreateOptions } from "../deps.ts";
import { EXIT } from "../exit.ts";
import { KV_TYPE, kvTypeOf } from "../kv-type.ts";
import { engineLimits, LIMITS, serverLimits } from "../serve-limits.ts";
import { strictCommand } from "../strict.ts";

export default strictCommand({
  name: "serve",
  summary: "serve models over the OpenAI, Anthropic and Ollama APIs",
  description: `Listens on this machine only unless --host says otherwise; set ALLOY_API_KEY before opening it to a network. Models load when a request
names them, or at once with --model. SIGTERM or Ctrl-C lets running requests finish; a second one ends them.`,
  args: {
    model: { type: "string", alias: "m", hint: "model", multiple: true, description: "Load this model now; may be repeated" },
    host: { type: "string", hint: "address", description: "Address to listen on (default: ALLOY_HOST, OLLAMA_HOST or 127.0.0.1)" },
    port: { type: "integer", alias: "p", hint: "number", min: 0, max: 65535, description: "Port; 0 takes a free one (default: 11434)" },
    ...LIMITS,
    "grammar-timeout": {
      type: "number",
      hint: "ms",
      min: 1,
      description: "Milliseconds that a request's schema or grammar may take to compile (default: 2000; longer while the machine is busy)",
    },
    "max-gap": {
      type: "integer",
      hint: "ms",
      min: 1,
      description: "Longest wanted gap between two tokens of an answer while others' prompts are read (default: 100)",
    },
    "cache-share": {
      type: "number",
      hint: "part",
      min: 0.01,
      max: 0.9,
      description: "Part of the memory left beside the weights that the KV cache takes (default: up to 0.25, as far as requests use it)",
    },
    "kv-type": KV_TYPE,
    threads: { type: "integer", hint: "count", min: 1, description: "CPU threads (default: one per core)" },
    device: { type: "string", hint: "name", description: "Where to compute, cpu or metal (default: the best there is)" },
    engine: {
      type: "enum",
      options: ["process", "worker"],
      default: "process",
      description: "Where the engine runs: in a process of its own, which a crash ends alone, or in a worker",
    },
    grace: { type: "number", hint: "seconds", min: 0, default: 10, description: "How long running requests may take to finish at the end" },
    "log-level": {
      type: "enum",
      options: LOG_LEVELS,
      description: "Least important lines that the log on standard error holds (default: ALLOY_LOG, or debug with OLLAMA_DEBUG, or info)",
    },
    "log-format": { type: "enum", options: LOG_FORMATS, description: "Form of the log (default: pretty on a terminal, else json)" },
  },
  examples: [
    ["alloy serve", "serve every model that `alloy list` shows"],
    ["alloy serve -m demo --port 8080", "load the demo model now, on another port"],
    ["alloy serve --host 0.0.0.0", "also for other machines (set ALLOY_API_KEY)"],
  ],
  async run(args, { io, json, style, color, deps }: Context) {
    const log = logOf(args["log-level"], args["log-format"], color, io);
    const address = listenAddress(io.env);
    if (address.warning !== undefined) log.log("warn", address.warning);
    const limits = serverLimits(args, io);
    const engine = await deps.createEngine({
      place: args.engine,
      onDeath: (death) => log.log("error", `the engine stopped: ${death.why}; ${consequences(death)}`),
      models: args.model,
      ...engineLimits(args, io),
      maxGap: args["max-gap"],
      grammarTimeout: args["grammar-timeout"],
      cacheShare: args["cache-share"],
      kvType: kvTypeOf(args["kv-type"], io),
      threads: args.threads,
      device: args.device,
    });
    for (const m of args.ctx === undefined ? [] : await engine.loaded())
      if (m.contextLength < args.ctx!)
        log.log("warn", `${m.name} takes at most ${m.contextLength} tokens, not the ${args.ctx} that --ctx asks for`);
    const stopped = Promise.withResolvers<void>();
    const graceMs = args.grace * 1000;
    let signals = 0;
    try {
      const server = await deps.startServer(engine, { host: args.host ?? address.host, port: args.port ?? address.port, log, ...limits });
      const forget = io.onInterrupt(() => {
        signals++;
        if (signals === 1) {
          log.log("info", `finishing running requests, ${args.grace} s at most (again to stop at once)`);
          void server.stop(graceMs).then(stopped.resolve, stopped.reject);
        } else void server.stop(0).then(stopped.resolve, stopped.reject);
      });
      if (json) printJson(io, { url: server.url, version: VERSION, pid: process.pid, models: args.model });
      else {
        // A file given by its path goes by another name.
        const model = args.model.length > 0 ? (await engine.model(args.model[0])).name : "demo";
        io.out(welcome(server.url, model, style));
      }
      log.log("info", "listening", { url: server.url, version: VERSION, pid: process.pid });
      await stopped.promise;
      forget();
      log.log("info", "stopped");
      return EXIT.ok;
    } finally {
      await engine.close(signals > 1 ? 0 : graceMs);
      await io.flushLog(1000);
    }
  },
});

function logOf(level: LogLevel | undefined, format: LogFormat | undefined, color: boolean | undefined, io: Io): Logger {
  const fromEnv = levelFromEnv(io.env);
  const log = createLogger({
    level: level ?? fromEnv.level,
    format: format ?? (io.stderrIsTty ? "pretty" : "json"),
    color: wantsColor(color, io, io.stderrIsTty),
    write: (line) => io.log(line),
  });
  if (fromEnv.unknown !== undefined && level === undefined)
    log.log("warn", `ALLOY_LOG is "${fromEnv.unknown}", which is no level: taking info`, { levels: LOG_LEVELS.join(" ") });
  return log;
}

/** What an engine's death means for those who asked it something. */
function consequences({ failed, kept, restartMs }: Parameters<NonNullable<CreateOptions["onDeath"]>>[0]): string {
  const again = restartMs === 0 ? "it starts again" : `it starts again in ${restartMs / 1000} s`;
  return `${again}; ${failed} ${failed === 1 ? "request" : "requests"} failed, ${kept} kept`;
}

function welcome(url: string, model: string, style: Context["style"]): string {
  const body = JSON.stringify({ model, messages: [{ role: "user", content: "What is the capital of France?" }] });
  return `${style.bold(`Alloy ${VERSION}`)} listens on ${style.green(url)}

  Browser    ${url}
  OpenAI     ${url}/v1
  Anthropic  ${url}
  Ollama     ${url}

Try it:
  curl ${url}/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '${body}'

Ctrl-C stops it.
`;
}
