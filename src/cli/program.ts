/** From the words of a command line to an exit code. No globals: tests call it with their own streams and parts. */
import { AlloyError, suggest } from "../support/errors.ts";
import { VERSION } from "../support/version.ts";
import { COMMANDS } from "./commands.ts";
import { makeStyle, printError, printJson, wantsColor, type Context, type Io } from "./context.ts";
import type { Deps } from "./deps.ts";
import { EXIT } from "./exit.ts";
import { commandHelp, GLOBAL_ARGS, programHelp } from "./help.ts";
import { UsageError, type Command } from "./strict.ts";

interface Globals {
  help: boolean;
  version: boolean;
  json: boolean;
  color: boolean | undefined;
  rest: string[];
}

/** Runs one command line and returns its exit code. Errors that a user can cause are printed, not thrown. */
export async function runProgram(argv: readonly string[], io: Io, deps: Deps): Promise<number> {
  const globals = takeGlobals(argv);
  const style = makeStyle(wantsColor(globals.color, io));
  try {
    if (globals.version) {
      if (globals.json) printJson(io, { version: VERSION });
      else io.out(`${VERSION}\n`);
      return EXIT.ok;
    }
    const [word, ...raw] = globals.rest;
    const name = word === "help" ? raw[0] : word;
    if (name === undefined) {
      const list = Object.entries(COMMANDS).map(([n, { summary }]) => ({ name: n, summary }));
      if (globals.json) printJson(io, { version: VERSION, commands: list });
      else io.out(programHelp(list, VERSION, style));
      return EXIT.ok;
    }
    const command = await findCommand(name);
    if (globals.help || word === "help") {
      if (globals.json) printJson(io, command.spec);
      else io.out(commandHelp(command, style));
      return EXIT.ok;
    }
    return await command.run(raw, { io, json: globals.json, style, color: globals.color, deps });
  } catch (thrown) {
    const error = AlloyError.from(thrown);
    if (error.code === "cancelled") return EXIT.interrupted;
    printError(io, style, globals.json, error);
    return error instanceof UsageError ? EXIT.usage : EXIT.failed;
  }
}

async function findCommand(name: string): Promise<Command<Context>> {
  const entry = COMMANDS[name];
  if (entry !== undefined) return entry.load();
  if (name.startsWith("-")) {
    const known = [...Object.keys(GLOBAL_ARGS), "version", "no-color"];
    const near = suggest(name.replace(/^-+/, ""), known);
    throw new UsageError(`unknown option ${name}`, near === undefined ? "`alloy --help` lists what there is" : `did you mean --${near}?`);
  }
  const near = suggest(name, Object.keys(COMMANDS));
  const hint =
    near === undefined ? "`alloy --help` lists the commands" : `did you mean \`alloy ${near}\`? \`alloy --help\` lists the commands`;
  throw new UsageError(`unknown command "${name}"`, hint);
}

/** Takes the options that every command has out of the words, wherever they stand before `--`. */
function takeGlobals(argv: readonly string[]): Globals {
  const globals: Globals = { help: false, version: false, json: false, color: undefined, rest: [] };
  let commandSeen = false;
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i];
    if (word === "--") {
      globals.rest.push(...argv.slice(i));
      break;
    }
    if (word === "--help" || word === "-h") globals.help = true;
    else if (word === "--json") globals.json = true;
    else if (word === "--no-color") globals.color = false;
    else if (word === "--color") globals.color = true;
    else if (!commandSeen && (word === "--version" || word === "-V" || word === "-v")) globals.version = true;
    else {
      commandSeen ||= !word.startsWith("-");
      globals.rest.push(word);
    }
  }
  return globals;
}
