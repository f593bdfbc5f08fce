/** The service as a unit of systemd (systemd.service(5), systemd.exec(5), systemd.syntax(7)). */
import { dirname, join } from "node:path";
import { AlloyError } from "../../support/errors.ts";
import {
  checkText,
  type Env,
  home,
  MARK,
  RESTART,
  type Scope,
  type ServiceDescription,
  type ServiceManager,
  type Step,
  stopSeconds,
} from "./description.ts";

const UNIT = "alloy.service";

const unitPath = (scope: Scope, env: Env) =>
  scope === "system" ? `/etc/systemd/system/${UNIT}` : join(env.XDG_CONFIG_HOME || join(home(env), ".config"), "systemd", "user", UNIT);
const envPath = (scope: Scope, env: Env) =>
  scope === "system" ? "/etc/alloy/service.env" : join(env.XDG_CONFIG_HOME || join(home(env), ".config"), "alloy", "service.env");
const systemctl = (scope: Scope, ...words: string[]) => ["systemctl", ...(scope === "user" ? ["--user"] : []), ...words];
const step = (scope: Scope, ...words: string[]): Step => ({ command: systemctl(scope, ...words) });

export const systemd: ServiceManager = {
  name: "systemd",
  program: "systemctl",
  files: (service, env) => [
    { path: unitPath(service.scope, env), text: unit(service, envPath(service.scope, env)) },
    { path: envPath(service.scope, env), text: environmentFile(service.env), secret: true },
  ],
  paths: (scope, env) => [unitPath(scope, env), envPath(scope, env)],
  folders: (scope, env) => [dirname(unitPath(scope, env)), dirname(envPath(scope, env))],
  start: (scope) => [step(scope, "daemon-reload"), step(scope, "enable", UNIT), step(scope, "restart", UNIT)],
  stop: (scope) => [{ ...step(scope, "disable", "--now", UNIT), mayFail: true }],
  forget: (scope) => [step(scope, "daemon-reload")],
  state: (scope) => systemctl(scope, "show", UNIT, "--property=ActiveState,SubState,MainPID,NRestarts"),
  parseState(output) {
    const of = (key: string) => new RegExp(`^${key}=(.*)$`, "m").exec(output)?.[1] ?? "";
    const pid = Number(of("MainPID"));
    const restarts = Number(of("NRestarts"));
    const words = `${of("ActiveState") || "systemd does not say"}${of("SubState") && ` (${of("SubState")})`}${restarts > 0 ? `, started again ${restarts} times` : ""}`;
    return { running: of("ActiveState") === "active", words, ...(pid > 0 ? { pid } : {}) };
  },
  log: (scope) => `journalctl ${scope === "user" ? "--user " : ""}-u alloy -o cat -f`,
  advice: (scope) => (scope === "user" ? "`loginctl enable-linger` keeps it running while you are not logged in" : undefined),
};

/** The unit's text. */
export function unit(service: ServiceDescription, environment: string): string {
  const { scope, command } = service;
  checkText("the path", environment);
  if (/["'\\]/.test(command[0])) {
    throw new AlloyError("bad_argument", `systemd starts no program whose path holds a quote or a backslash: ${command[0]}`, {
      hint: "Move or link the executable to another folder.",
    });
  }
  return `# ${MARK}
[Unit]
Description=Alloy: language models over the OpenAI, Anthropic and Ollama APIs
${scope === "system" ? "After=network-online.target\nWants=network-online.target\n" : ""}StartLimitIntervalSec=${RESTART.within}
StartLimitBurst=${RESTART.limit}

[Service]
Type=exec
# The colon: a dollar sign is a dollar sign.
ExecStart=:${command.map(quoted).join(" ")}
EnvironmentFile=-${environment.replaceAll("%", "%%")}
SyslogIdentifier=alloy
Restart=on-failure
RestartSec=${RESTART.pause}
# Called wrongly: that does not get better.
RestartPreventExitStatus=2
KillSignal=SIGTERM
# Only the server is told to stop; it ends the process that computes when running requests are done.
KillMode=mixed
TimeoutStopSec=${stopSeconds(service)}
LimitNOFILE=65536
OOMPolicy=continue
${hardening(service)}
[Install]
WantedBy=${scope === "system" ? "multi-user.target" : "default.target"}
`;
}

/** What works without rights, and what only the system's own manager can do. Code is compiled and mapped at run time: no W^X. */
function hardening({ scope, account }: ServiceDescription): string {
  const always = [
    "NoNewPrivileges=yes",
    "LockPersonality=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "RestrictNamespaces=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "SystemCallArchitectures=native",
    "UMask=0077",
  ];
  if (scope === "user") return `${always.join("\n")}\n`;
  const whose =
    account === undefined ? ["DynamicUser=yes"] : [`User=${account.replaceAll("%", "%%")}`, "ProtectSystem=full", "PrivateTmp=yes"];
  return [
    ...always,
    ...whose,
    "StateDirectory=alloy",
    "CacheDirectory=alloy",
    ...(account === undefined ? ["Environment=HOME=%S/alloy ALLOY_MODELS=%S/alloy/models", "ProtectHome=yes"] : []),
    "Environment=ALLOY_CACHE_DIR=%C/alloy",
    "CapabilityBoundingSet=",
    "AmbientCapabilities=",
    "PrivateDevices=yes",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectProc=invisible",
    "RemoveIPC=yes",
    "SystemCallFilter=@system-service",
    "SystemCallErrorNumber=EPERM",
    "",
  ].join("\n");
}

/** A word of a command line: in quotes, with percent signs doubled (they stand for paths and names otherwise). */
function quoted(word: string): string {
  checkText("the command line", word);
  return `"${word.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("%", "%%")}"`;
}

function environmentFile(env: Readonly<Record<string, string>>): string {
  const lines = Object.entries(env).map(([name, value]) => {
    checkText(name, value);
    return `${name}="${value.replace(/["\\`$]/g, "\\$&")}"\n`;
  });
  return `# ${MARK}\n# Settings of the service, one NAME="value" a line; restart it after a change.\n${lines.join("")}`;
}
