/** `alloy service`: Alloy as a service of systemd or launchd. */
import { existsSync, mkdirSync } from "node:fs";
import { resolve } from "node:path";
import { clientUrl, listenAddress } from "../../server/listen.ts";
import { AlloyError, suggest } from "../../support/errors.ts";
import { COMPILED } from "../../support/version.ts";
import { printJson, type Context } from "../context.ts";
import { EXIT } from "../exit.ts";
import { probe } from "../probe.ts";
import { type Env, type Scope, type ServiceDescription, type ServiceManager, type Step } from "../service/description.ts";
import { ownText, putFile, removeFile } from "../service/files.ts";
import { launchd } from "../service/launchd.ts";
import { systemd } from "../service/systemd.ts";
import { checkArgs, strictCommand, UsageError } from "../strict.ts";
import serve from "./serve.ts";

const ACTIONS = ["install", "uninstall", "status"] as const;
const MANAGERS = { systemd, launchd };

export default strictCommand({
  name: "service",
  summary: "keep a server running: install, uninstall, status",
  description: `Installs \`alloy serve\` as a service of systemd (Linux) or launchd (macOS): of whoever calls it, which needs no rights, or with --system
of the machine. Installing again changes it to what is asked for. Options for \`alloy serve\` go after --.`,
  args: {
    action: { type: "positional", required: true, description: "install, uninstall or status" },
    args: { type: "positional", rest: true, label: "[-- OPTIONS...]", description: "Options for `alloy serve`, after --" },
    system: { type: "boolean", description: "A service of the machine, started with it; needs root" },
    env: {
      type: "string",
      hint: "NAME[=VALUE]",
      multiple: true,
      description: "A setting of the service, such as ALLOY_API_KEY; without a value the present one is taken; may be repeated",
    },
    account: {
      type: "string",
      hint: "user",
      description: "Whom a --system service runs as (default: on Linux a user made for it, on macOS SUDO_USER)",
    },
    manager: { type: "enum", options: ["systemd", "launchd"], description: "What starts it (default: the one of this system)" },
    print: { type: "boolean", description: "Print the files instead of installing them" },
  },
  examples: [
    ["alloy service install", "serve on 127.0.0.1:11434 whenever you are logged in"],
    ["alloy service install -- -m qwen3:8b --port 8080", "with options of `alloy serve`"],
    ["sudo alloy service install --system --env ALLOY_API_KEY -- --host 0.0.0.0", "for a network, from boot on"],
    ["alloy service status", "whether it runs and answers"],
  ],
  async run(args, context: Context) {
    const action = ACTIONS.find((a) => a === args.action);
    if (!action) {
      const near = suggest(args.action, ACTIONS);
      throw new UsageError(`"${args.action}" is none of install, uninstall and status`, near && `did you mean ${near}?`);
    }
    const manager = MANAGERS[args.manager ?? (process.platform === "darwin" ? "launchd" : "systemd")];
    const scope: Scope = args.system ? "system" : "user";
    if (action !== "install") {
      for (const option of ["env", "account", "print", "args"] as const)
        if (Array.isArray(args[option]) ? args[option].length > 0 : args[option]) throw new UsageError(`--${option} belongs to install`);
      return action === "status" ? status(manager, scope, context) : uninstall(manager, scope, context);
    }
    if (args.account !== undefined && scope === "user") throw new UsageError("--account belongs to --system");
    const service = describe(args.args, { env: args.env, scope, account: args.account, manager }, context);
    return args.print ? print(manager, service, context) : install(manager, service, context);
  },
});

interface Choice {
  env: readonly string[];
  scope: Scope;
  account?: string;
  manager: ServiceManager;
}

/** Throws UsageError for options that `alloy serve` would refuse. */
function describe(words: readonly string[], { env, scope, account, manager }: Choice, { io, style }: Context): ServiceDescription {
  const { given } = checkArgs(words, serve.spec.args, "serve");
  const grace = serve.spec.args.grace as { default: number };
  const chosen = Object.fromEntries(env.map((word) => variable(word, io.env)));
  const host = given.get("host")?.[0] ?? listenAddress(chosen).host;
  if (!/^(localhost|127\.|::1$)/.test(host) && !chosen.ALLOY_API_KEY) {
    io.err(style.yellow(`alloy: it will listen on ${host} without asking for a key; --env ALLOY_API_KEY=... sets one\n`));
  }
  const macAccount = scope === "system" && manager.name === "launchd" ? io.env.SUDO_USER : undefined;
  if (scope === "system" && manager.name === "launchd" && !(account ?? macAccount))
    throw new UsageError("whom should the service run as?", "name a user with --account");
  return {
    command: [process.execPath, ...(COMPILED ? [] : [Bun.main]), "serve", ...words.map(wholePath)],
    env: chosen,
    scope,
    account: account ?? macAccount,
    graceSeconds: Number(given.get("grace")?.[0] ?? grace.default),
  };
}

/** A model's file by its whole path: the service starts in another folder. */
function wholePath(word: string): string {
  const [, option, file] = /^(--model=|-m=?)?(.*)$/s.exec(word)!;
  return file.includes("/") && existsSync(file) ? `${option ?? ""}${resolve(file)}` : word;
}

function variable(word: string, env: Env): [string, string] {
  const [, name, value] = /^([^=]*)(?:=(.*))?$/s.exec(word)!;
  if (!/^[A-Za-z_]\w*$/.test(name)) throw new UsageError(`--env "${word}" names no variable`, "write --env NAME=VALUE, or --env NAME");
  const present = value ?? env[name];
  if (present === undefined) throw new UsageError(`--env ${name}: ${name} is not set`, `write --env ${name}=VALUE`);
  return [name, present];
}

function print(manager: ServiceManager, service: ServiceDescription, { io, json, style }: Context): number {
  const files = manager.files(service, io.env);
  if (json)
    printJson(io, {
      files: files.map(({ path, text }) => ({ path, text })),
      commands: commands(manager.start(service.scope, files[0].path)),
    });
  else for (const { path, text } of files) io.out(`${style.dim(`# ${path}`)}\n${text}\n`);
  return EXIT.ok;
}

async function install(manager: ServiceManager, service: ServiceDescription, context: Context): Promise<number> {
  const { io, json, style } = context;
  const { scope } = service;
  needProgram(manager, context);
  const files = manager.files(service, io.env);
  for (const { path } of files) ownText(path);
  for (const folder of manager.folders(scope, io.env)) mkdirSync(folder, { recursive: true });
  const changed = files.filter((file) => putFile(file)).map(({ path }) => path);
  const steps = manager.start(scope, files[0].path);
  await runSteps(steps, context, `The service is written, but not started. Then: ${commands(steps).join(" && ")}`);
  const url = urlOf(service.command, service.env);
  const answers = await within(15_000, async () => (await probe(url)).kind === "alloy");
  if (json) printJson(io, { installed: true, changed, url, answers });
  else {
    io.out(`${changed.length > 0 ? `Written: ${changed.join(", ")}` : "Nothing to change"}\n`);
    io.out(
      answers
        ? `It answers at ${style.green(url)}\n`
        : style.yellow(`It was started, but does not answer at ${url} yet (a model may be loading)\n`),
    );
    io.out(`Log:     ${manager.log(scope, io.env)}\nStatus:  alloy service status${scope === "system" ? " --system" : ""}\n`);
    const advice = manager.advice(scope);
    if (advice) io.out(`Note:    ${advice}\n`);
  }
  return EXIT.ok;
}

async function uninstall(manager: ServiceManager, scope: Scope, context: Context): Promise<number> {
  const { io, json } = context;
  const paths = manager.paths(scope, io.env).filter((path) => ownText(path) !== undefined);
  if (paths.length > 0) {
    needProgram(manager, context);
    await runSteps(manager.stop(scope), context);
    for (const path of paths) removeFile(path);
    await runSteps(manager.forget(scope), context);
  }
  if (json) printJson(io, { removed: paths });
  else
    io.out(
      paths.length > 0
        ? `Removed: ${paths.join(", ")}\n`
        : `No service is installed${scope === "user" ? " for this user (--system?)" : ""}\n`,
    );
  return EXIT.ok;
}

async function status(manager: ServiceManager, scope: Scope, context: Context): Promise<number> {
  const { io, json, style } = context;
  const [path] = manager.paths(scope, io.env);
  if (!existsSync(path)) {
    if (json) printJson(io, { installed: false, running: false });
    else io.out(`No service is installed${scope === "user" ? " for this user (--system?)" : ""}. \`alloy service install\` does that.\n`);
    return EXIT.failed;
  }
  needProgram(manager, context);
  const { running, words, pid } = manager.parseState((await run(manager.state(scope), context)).output);
  const log = manager.log(scope, io.env);
  if (json) printJson(io, { installed: true, path, running, state: words, pid, log });
  else
    io.out(
      `${running ? style.green("running") : style.red("not running")}: ${words}${pid === undefined ? "" : `, process ${pid}`}\nFile:  ${path}\nLog:   ${log}\n`,
    );
  return running ? EXIT.ok : EXIT.failed;
}

/** Where the service will listen. */
function urlOf(command: readonly string[], env: Env): string {
  const { given } = checkArgs(command.slice(command.indexOf("serve") + 1), serve.spec.args, "serve");
  const { host, port } = listenAddress(env);
  return clientUrl({ host: given.get("host")?.[0] ?? host, port: Number(given.get("port")?.[0] ?? port) });
}

function needProgram({ name, program }: ServiceManager, { io }: Context): void {
  if (Bun.which(program, { PATH: io.env.PATH ?? "" })) return;
  throw new AlloyError("not_found", `there is no ${name} here ("${program}" is not in PATH)`, {
    hint: "`alloy service install --print` shows what it would be given; without it, run `alloy serve` by other means.",
  });
}

const commands = (steps: readonly Step[]): string[] => steps.filter((s) => !s.mayFail).map(({ command }) => command.join(" "));

async function runSteps(steps: readonly Step[], context: Context, hint?: string): Promise<void> {
  for (const { command, mayFail } of steps) {
    const { code, output } = await run(command, context);
    if (code === 0 || mayFail) continue;
    const why = output.trim().split("\n").at(-1) ?? "";
    throw new AlloyError("io_error", `\`${command.join(" ")}\` failed${why === "" ? ` with ${code}` : `: ${why}`}`, { hint });
  }
}

async function run(command: readonly string[], { io }: Context): Promise<{ code: number; output: string }> {
  const [program, ...words] = command;
  const path = Bun.which(program, { PATH: io.env.PATH ?? "" }) ?? program;
  const child = Bun.spawn([path, ...words], { env: io.env as Record<string, string>, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [code, out, err] = await Promise.all([child.exited, new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { code, output: out + err };
}

/** Whether `condition` came true within so many milliseconds. */
async function within(ms: number, condition: () => Promise<boolean>): Promise<boolean> {
  const end = performance.now() + ms;
  for (;;) {
    if (await condition()) return true;
    if (performance.now() > end) return false;
    await Bun.sleep(200);
  }
}
