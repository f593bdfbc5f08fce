/** The service as a property list of launchd (launchd.plist(5)). */
import { dirname, join } from "node:path";
import {
  checkText,
  type Env,
  home,
  MARK,
  type Scope,
  type ServiceDescription,
  type ServiceManager,
  type Step,
  stopSeconds,
} from "./description.ts";

const LABEL = "io.github.alloy-project.alloy";

const library = (scope: Scope, env: Env) => (scope === "system" ? "/Library" : join(home(env), "Library"));
const plistPath = (scope: Scope, env: Env) =>
  join(library(scope, env), scope === "system" ? "LaunchDaemons" : "LaunchAgents", `${LABEL}.plist`);
const logPath = (scope: Scope, env: Env) => join(library(scope, env), "Logs", "Alloy", "alloy.log");
const domain = (scope: Scope) => (scope === "system" ? "system" : `gui/${process.getuid?.() ?? 0}`);

const bootout = (scope: Scope): Step => ({ command: ["launchctl", "bootout", `${domain(scope)}/${LABEL}`], mayFail: true });

export const launchd: ServiceManager = {
  name: "launchd",
  program: "launchctl",
  files: (service, env) => [{ path: plistPath(service.scope, env), text: plist(service, logPath(service.scope, env)), secret: true }],
  paths: (scope, env) => [plistPath(scope, env)],
  folders: (scope, env) => [dirname(plistPath(scope, env)), dirname(logPath(scope, env))],
  start: (scope, path) => [
    // One that is loaded already must go before its list is read again; that there is none is no error.
    bootout(scope),
    { command: ["launchctl", "bootstrap", domain(scope), path] },
    { command: ["launchctl", "kickstart", `${domain(scope)}/${LABEL}`] },
  ],
  stop: (scope) => [bootout(scope)],
  forget: () => [],
  state: (scope) => ["launchctl", "print", `${domain(scope)}/${LABEL}`],
  parseState(output) {
    const state = /^\s*state = (.+)$/m.exec(output)?.[1] ?? "not loaded";
    const pid = Number(/^\s*pid = (\d+)$/m.exec(output)?.[1] ?? 0);
    return { running: state === "running", words: state, ...(pid > 0 ? { pid } : {}) };
  },
  log: (scope, env) => `tail -f ${logPath(scope, env)}`,
  advice: () => undefined,
};

type Value = string | number | boolean | readonly string[] | { readonly [key: string]: Value };

/** The list's text. */
export function plist(service: ServiceDescription, log: string): string {
  const { command, env, scope, account } = service;
  const content: Record<string, Value> = {
    Label: LABEL,
    ProgramArguments: command,
    EnvironmentVariables: env,
    ...(scope === "system" && account !== undefined ? { UserName: account } : {}),
    RunAtLoad: true,
    KeepAlive: { SuccessfulExit: false },
    // Seconds between two starts; launchd has no limit on how many.
    ThrottleInterval: 10,
    // It is sent SIGTERM, and killed after this.
    ExitTimeOut: stopSeconds(service),
    // Not slowed down like housekeeping: people wait for its answers.
    ProcessType: "Interactive",
    StandardOutPath: log,
    StandardErrorPath: log,
    Umask: 0o077,
    SoftResourceLimits: { NumberOfFiles: 65_536 },
  };
  return `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<!-- ${MARK} -->
<plist version="1.0">
${xml(content, "")}
</plist>
`;
}

function xml(value: Value, indent: string): string {
  const deeper = `${indent}\t`;
  if (typeof value === "string") return `${indent}<string>${escaped(value)}</string>`;
  if (typeof value === "number") return `${indent}<integer>${value}</integer>`;
  if (typeof value === "boolean") return `${indent}<${value}/>`;
  if (Array.isArray(value)) return `${indent}<array>\n${value.map((v: string) => xml(v, deeper)).join("\n")}\n${indent}</array>`;
  const entries = Object.entries(value as Record<string, Value>);
  if (entries.length === 0) return `${indent}<dict/>`;
  const lines = entries.map(([key, v]) => `${deeper}<key>${escaped(key)}</key>\n${xml(v, deeper)}`);
  return `${indent}<dict>\n${lines.join("\n")}\n${indent}</dict>`;
}

function escaped(text: string): string {
  checkText("the list", text);
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
