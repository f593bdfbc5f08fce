/** What the service is, from which systemd's unit and launchd's list are written. */
import { AlloyError } from "../../support/errors.ts";

export interface ServiceDescription {
  /** Program, by its whole path, and arguments. */
  command: readonly string[];
  env: Readonly<Record<string, string>>;
  /** user: of whoever installs it, needs no rights. system: starts with the machine. */
  scope: Scope;
  /** Whom a system service runs as; undefined leaves that to the system's own way. */
  account?: string;
  /** What running requests get to finish, in seconds, when it is stopped. */
  graceSeconds: number;
}

export type Scope = "user" | "system";

/** A file that belongs to the service. */
export interface ServiceFile {
  path: string;
  text: string;
  /** Holds settings that others must not read: keys. */
  secret?: boolean;
}

/** How a system starts services. */
export interface ServiceManager {
  name: "systemd" | "launchd";
  /** The program that it is talked to with. */
  program: string;
  /** Files of the service, its main one first. Throws `bad_argument` for what they cannot hold. */
  files(service: ServiceDescription, env: Env): ServiceFile[];
  /** Where those files are, whatever they hold. */
  paths(scope: Scope, env: Env): string[];
  /** Folders that must be there before it starts. */
  folders(scope: Scope, env: Env): string[];
  /** What to run after the files are written, in this order. */
  start(scope: Scope, path: string): Step[];
  /** What to run before they are removed, and after. */
  stop(scope: Scope): Step[];
  forget(scope: Scope): Step[];
  /** What to ask, and what the answer says. */
  state(scope: Scope): string[];
  parseState(output: string): ServiceState;
  /** Command line that shows the log. */
  log(scope: Scope, env: Env): string;
  /** What else a person may want to do, once it is installed. */
  advice(scope: Scope): string | undefined;
}

export interface Step {
  command: readonly string[];
  /** That it fails says nothing: there was nothing to stop. */
  mayFail?: boolean;
}

export interface ServiceState {
  running: boolean;
  /** In the manager's own words. */
  words: string;
  pid?: number;
}

export type Env = Readonly<Record<string, string | undefined>>;

/** In every file that the service has: what `uninstall` may remove, and `install` replace. */
export const MARK = "Made by `alloy service install`; `alloy service uninstall` removes it.";

/** A stop takes the grace, and some seconds for the last words to reach clients and the log. */
export const stopSeconds = (service: ServiceDescription): number => Math.ceil(service.graceSeconds) + 15;

/** Times between two starts, and how many failures in a row are too many. */
export const RESTART = { pause: 2, limit: 5, within: 120 };

/** Throws `bad_argument` for text that no line of a configuration file can hold. */
export function checkText(what: string, text: string): void {
  // oxlint-disable-next-line no-control-regex -- that is what is looked for
  if (!/[\u0000-\u001f\u007f]/.test(text)) return;
  throw new AlloyError("bad_argument", `${what} holds a control character: ${JSON.stringify(text.slice(0, 100))}`, {
    hint: "Leave line breaks and the like out.",
  });
}

/** Throws `bad_argument` where there is no home folder. */
export function home(env: Env): string {
  if (env.HOME) return env.HOME;
  throw new AlloyError("bad_argument", "HOME is not set", { hint: "Set it, or install the service with --system." });
}
