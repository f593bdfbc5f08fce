/** Host, Origin and API-key checks, and preflight (spec 1.3, 1.4). The Host check is what defeats DNS rebinding. */
import { createHash, timingSafeEqual } from "node:crypto";
import { hostname as machineName, networkInterfaces } from "node:os";
import { isIP } from "node:net";
import { AlloyError } from "../support/errors.ts";

export interface GuardOptions {
  /** Address that the socket is bound to. */
  bound: string;
  /** Comma lists: OLLAMA_ORIGINS and ALLOY_ORIGINS joined. */
  origins?: string;
  /** Comma list ALLOY_ALLOWED_HOSTS. */
  allowedHosts?: string;
  /** Comma list ALLOY_API_KEY; empty: no key is asked for. */
  apiKeys?: string;
}

/** A verdict: headers to add to the response, or the response that ends the request. */
export type Verdict =
  { pass: true; cors: [string, string][] } | { pass: false; response: Response; /** None for preflight. */ reason?: "host" | "origin" };

const DEFAULT_ORIGINS = [
  ...["localhost", "127.0.0.1", "0.0.0.0"].flatMap((h) => [`http://${h}`, `https://${h}`, `http://${h}:*`, `https://${h}:*`]),
  "app://*",
  "file://*",
  "tauri://*",
  "vscode-webview://*",
  "vscode-file://*",
];

const ALLOW_HEADERS = [
  "Authorization, Content-Type, User-Agent, Accept, X-Requested-With, OpenAI-Beta",
  ...["arch", "async", "custom-poll-interval", "helper-method", "lang", "os", "package-version", "poll-helper"].map(
    (h) => `x-stainless-${h}`,
  ),
  ...["retry-count", "runtime", "runtime-version", "timeout"].map((h) => `x-stainless-${h}`),
  "x-api-key, anthropic-version, anthropic-beta, anthropic-dangerous-direct-browser-access",
  "openai-organization, openai-project, x-client-request-id, idempotency-key, x-alloy-timeout, x-alloy-priority",
].join(", ");

const PREFLIGHT_HEADERS: [string, string][] = [
  ["access-control-allow-methods", "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"],
  ["access-control-allow-headers", ALLOW_HEADERS],
  ["access-control-max-age", "43200"],
];

const LOOPBACK = /^(127(\.\d{1,3}){3}|::1|::ffff:127(\.\d{1,3}){3})$/;

/** Whether an address to listen on is reached from this machine only. */
export const isLoopback = (bound: string): boolean => bound === "localhost" || LOOPBACK.test(bound);

export class Guard {
  readonly #origins: RegExp[];
  readonly #anyOrigin: boolean;
  readonly #hosts: Set<string>;
  readonly #checkHost: boolean;
  readonly #keys: Buffer[];

  /** Throws `bad_argument` for an origin pattern that cannot mean anything. */
  constructor(options: GuardOptions) {
    const patterns = [...commaList(options.origins), ...DEFAULT_ORIGINS];
    this.#anyOrigin = patterns.includes("*");
    this.#origins = patterns.map(originPattern);
    const allowed = commaList(options.allowedHosts).map((h) => h.toLowerCase());
    this.#hosts = new Set([...allowed, "localhost", machineName().toLowerCase(), options.bound.toLowerCase()]);
    this.#checkHost = isLoopback(options.bound) || allowed.length > 0;
    this.#keys = commaList(options.apiKeys).map(fingerprint);
  }

  /** Host and Origin checks; nothing of the body has been read yet. */
  admit(request: Request): Verdict {
    const host = request.headers.get("host") ?? "";
    if (this.#checkHost && !this.#hostAllowed(host)) return refuse("host");
    const origin = request.headers.get("origin");
    const preflight = request.method === "OPTIONS";
    if (origin === null) return preflight ? end(204, PREFLIGHT_HEADERS) : pass([]);
    if (origin === `http://${host}` || origin === `https://${host}`) return preflight ? end(204, PREFLIGHT_HEADERS) : pass([]);
    if (!this.#origins.some((pattern) => pattern.test(origin))) return refuse("origin");
    const cors: [string, string][] = [
      ...(this.#anyOrigin
        ? ([["access-control-allow-origin", "*"]] as [string, string][])
        : ([
            ["access-control-allow-origin", origin],
            ["vary", "Origin"],
          ] as [string, string][])),
      ["access-control-expose-headers", "request-id, x-request-id, retry-after, x-alloy-model, x-alloy-truncated"],
    ];
    return preflight ? end(204, [...cors, ...PREFLIGHT_HEADERS]) : pass(cors);
  }

  /** Throws `unauthorized` when keys are configured and the request carries none of them. */
  authorize(request: Request): void {
    if (this.#keys.length === 0 || this.#key(request)) return;
    const none = offeredKeys(request).length === 0;
    throw new AlloyError("unauthorized", none ? "an API key is required" : "the API key is not valid", {
      hint: "Send a key from ALLOY_API_KEY as 'Authorization: Bearer ...' or 'x-api-key: ...'.",
    });
  }

  /** Whose request it is, for taking turns: the key where keys are asked for, else the address and the program. */
  caller(request: Request, address: string): string {
    const key = this.#key(request);
    return Bun.hash(key ? `key ${key.toString("hex")}` : `${address} ${request.headers.get("user-agent") ?? ""}`).toString(36);
  }

  #key(request: Request): Buffer | undefined {
    const offered = offeredKeys(request);
    return this.#keys.find((k) => offered.some((o) => timingSafeEqual(k, o)));
  }

  #hostAllowed(header: string): boolean {
    const host = header
      .replace(/:\d*$/, "")
      .replace(/^\[|\]$/g, "")
      .toLowerCase();
    if (host === "" || this.#hosts.has(host)) return true;
    if (/\.(localhost|local|internal)$/.test(host)) return true;
    return isIP(host) !== 0 && (isPrivate(host) || ownAddress(host));
  }
}

function offeredKeys(request: Request): Buffer[] {
  const bearer = /^bearer\s+(.*)$/i.exec(request.headers.get("authorization") ?? "")?.[1]?.trim();
  return [bearer, request.headers.get("x-api-key")?.trim()].filter((k): k is string => Boolean(k)).map(fingerprint);
}

/** Of one length for all keys, so that comparing them tells nothing of theirs. */
function fingerprint(key: string): Buffer {
  return createHash("sha256").update(key).digest();
}

/** Loopback, private (RFC 1918, 4193), link-local and unspecified addresses: no public page can be served from one. */
function isPrivate(ip: string): boolean {
  if (ip === "0.0.0.0" || ip === "::" || LOOPBACK.test(ip)) return true;
  const v4 = /^(?:::ffff:)?(\d+)\.(\d+)\.\d+\.\d+$/.exec(ip);
  if (v4) {
    const [a, b] = [Number(v4[1]), Number(v4[2])];
    return a === 10 || (a === 172 && b >= 16 && b < 32) || (a === 192 && b === 168) || (a === 169 && b === 254);
  }
  return /^(f[cd]|fe[89ab])/.test(ip);
}

function ownAddress(ip: string): boolean {
  return Object.values(networkInterfaces()).some((list) => list?.some((i) => i.address.toLowerCase() === ip));
}

function originPattern(pattern: string): RegExp {
  const stars = pattern.split("*").length - 1;
  if (pattern !== "*" && (stars > 1 || !/^[a-z][a-z0-9+.-]*:\/\/\S+$/i.test(pattern))) {
    throw new AlloyError("bad_argument", `the origin pattern '${pattern}' is not valid`, {
      hint: "OLLAMA_ORIGINS takes scheme://host[:port] with at most one '*' each, separated by commas.",
    });
  }
  const text = pattern.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\/]/g, "\\$&"));
  return new RegExp(`^${text.join(".*")}$`, "i");
}

function commaList(value: string | undefined): string[] {
  return (value ?? "")
    .split(",")
    .map((v) => v.trim())
    .filter((v) => v !== "");
}

const pass = (cors: [string, string][]): Verdict => ({ pass: true, cors });
const end = (status: number, headers: [string, string][]): Verdict => ({ pass: false, response: new Response(null, { status, headers }) });
const refuse = (reason: "host" | "origin"): Verdict => ({ pass: false, response: new Response(null, { status: 403 }), reason });
