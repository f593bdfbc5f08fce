/** HTTP for downloads: redirects that carry no credentials away, proxies, deadlines, and what to try again. */
import { AlloyError } from "../../support/errors.ts";
import { VERSION } from "../../support/version.ts";
import { proxyFor } from "./proxy.ts";

export interface NetOptions {
  /** Environment to take proxies from. */
  env: Readonly<Record<string, string | undefined>>;
  /** Longest silence before headers and between two pieces of a body, milliseconds. Default 30 s. */
  silenceMs?: number;
  /** Pause before the second try, doubled for each further one. Default 500 ms. */
  retryMs?: number;
  /** Tries that may fail one after the other. Default 6. */
  attempts?: number;
}

export interface GetOptions {
  headers?: Readonly<Record<string, string>>;
  signal?: AbortSignal;
}

/** The head of an answer, and its body piece by piece. */
export interface Reply {
  status: number;
  headers: Headers;
  /** Throws TransferError when the connection breaks or falls silent. Leaving it closes the connection. */
  body(): AsyncGenerator<Uint8Array>;
  /** Closes the connection. */
  close(): void;
}

/** A request that failed: an HTTP status other than 200 and 206, or no answer at all. */
export class TransferError extends Error {
  constructor(
    message: string,
    readonly detail: {
      /** Whether the same request may work a little later. */
      retry: boolean;
      status?: number;
      headers?: Headers;
      /** Start of the answer's text. */
      text?: string;
      /** How long the server asks to wait, milliseconds. */
      afterMs?: number;
      cause?: unknown;
    },
  ) {
    super(message, { cause: detail.cause });
  }
}

const MAX_REDIRECTS = 10;
/** Of an error's answer, for the message. */
const MAX_ERROR_TEXT = 4096;
/** A server that wants a longer pause gets no second try: its wish is reported instead. */
const MAX_WAIT_MS = 120_000;
/** Tries to reach a host for a small answer. */
const UNREACHABLE_ATTEMPTS = 2;
const RETRIED = new Set([408, 425, 429, 500, 502, 503, 504]);
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
/** Not for other hosts. */
const CREDENTIALS = ["authorization", "cookie", "proxy-authorization"];

/** Codes of fetch's errors in words. */
const NETWORK_ERRORS: Readonly<Record<string, string>> = {
  ENOTFOUND: "its address is not known (is this machine online?)",
  EAI_AGAIN: "its address cannot be looked up (is this machine online?)",
  ECONNREFUSED: "it refuses the connection",
  ConnectionRefused: "it refuses the connection",
  ECONNRESET: "it closed the connection",
  ETIMEDOUT: "it does not answer",
  ENETUNREACH: "the network cannot be reached",
  EHOSTUNREACH: "the host cannot be reached",
  EPROTO: "it does not speak TLS",
};

export class Net {
  readonly silenceMs: number;
  readonly attempts: number;
  private readonly retryMs: number;
  private readonly env: NetOptions["env"];

  constructor({ env, silenceMs = 30_000, retryMs = 500, attempts = 6 }: NetOptions) {
    this.env = env;
    this.silenceMs = silenceMs;
    this.retryMs = retryMs;
    this.attempts = attempts;
  }

  /** One GET, redirects followed. Throws TransferError for anything but 200 and 206, and the signal's reason when aborted. */
  async open(url: string, { headers = {}, signal }: GetOptions = {}): Promise<Reply> {
    let at = httpUrl(url);
    const sent = new Headers({ "user-agent": `alloy/${VERSION}`, "accept-encoding": "identity", ...headers });
    for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
      const reply = await this.hop(at, sent, signal);
      const location = REDIRECTS.has(reply.status) ? reply.headers.get("location") : null;
      if (location === null) return this.checked(reply, at);
      reply.close();
      const next = httpUrl(location, at);
      if (at.protocol === "https:" && next.protocol === "http:")
        throw new TransferError(`${at.host} redirects to ${next.host} without encryption`, { retry: false });
      if (next.origin !== at.origin) for (const name of CREDENTIALS) sent.delete(name);
      at = next;
    }
    throw new TransferError(`${at.host} redirects more than ${MAX_REDIRECTS} times`, { retry: false });
  }

  /** Text of a small answer, with retries. Throws `download_failed` when it is longer than `limit` bytes; TransferError when it does not come. */
  async text(url: string, limit: number, options: GetOptions = {}): Promise<{ bytes: Uint8Array; headers: Headers }> {
    return this.retrying(options.signal, async () => {
      const reply = await this.open(url, options);
      const chunks: Uint8Array[] = [];
      let size = 0;
      for await (const chunk of reply.body()) {
        size += chunk.byteLength;
        if (size > limit) throw new AlloyError("download_failed", `${url} is larger than the ${limit} bytes that it may have`);
        chunks.push(chunk);
      }
      return { bytes: Buffer.concat(chunks), headers: reply.headers };
    });
  }

  private async retrying<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    for (let failures = 1; ; failures++) {
      try {
        return await work();
      } catch (e) {
        // Somebody without a network should not wait long to be told so.
        const unreachable = e instanceof TransferError && e.detail.status === undefined;
        await this.pause(e, failures, signal, unreachable ? UNREACHABLE_ATTEMPTS : this.attempts);
      }
    }
  }

  /** Waits before the next try; throws `error` when it cannot pass, or after `attempts` failures in a row. */
  async pause(error: unknown, failures: number, signal: AbortSignal | undefined, attempts = this.attempts): Promise<void> {
    signal?.throwIfAborted();
    if (!(error instanceof TransferError) || !error.detail.retry || failures >= attempts) throw error;
    const { afterMs } = error.detail;
    if (afterMs !== undefined && afterMs > MAX_WAIT_MS) throw error;
    // Up to a quarter more, so that many clients of a server that was down do not come back in the same moment.
    const backoff = this.retryMs * 2 ** (failures - 1) * (1 + Math.random() / 4);
    await pause(Math.max(backoff, afterMs ?? 0), signal);
  }

  private async hop(url: URL, headers: Headers, signal: AbortSignal | undefined): Promise<Reply> {
    signal?.throwIfAborted();
    const stop = new AbortController();
    const leave = () => stop.abort(signal?.reason);
    signal?.addEventListener("abort", leave, { once: true });
    const silence = setTimeout(() => stop.abort(new Silence()), this.silenceMs);
    const close = () => {
      clearTimeout(silence);
      signal?.removeEventListener("abort", leave);
      stop.abort();
    };
    try {
      const response = await fetch(url, { headers, redirect: "manual", signal: stop.signal, proxy: proxyFor(url, this.env) });
      clearTimeout(silence);
      const body = () => this.body(url, response, stop, signal, close);
      return { status: response.status, headers: response.headers, body, close };
    } catch (e) {
      close();
      throw this.failure(url, e, signal);
    }
  }

  private async *body(
    url: URL,
    response: Response,
    stop: AbortController,
    signal: AbortSignal | undefined,
    close: () => void,
  ): AsyncGenerator<Uint8Array> {
    let silence: ReturnType<typeof setTimeout> | undefined;
    const reader = response.body?.getReader();
    try {
      while (reader) {
        // Only the wait for the server counts, not the time that the reader of these pieces takes.
        silence = setTimeout(() => stop.abort(new Silence()), this.silenceMs);
        const { done, value } = await reader.read();
        clearTimeout(silence);
        if (done) return;
        yield value;
      }
    } catch (e) {
      throw this.failure(url, stop.signal.aborted && !signal?.aborted ? stop.signal.reason : e, signal);
    } finally {
      clearTimeout(silence);
      close();
    }
  }

  private async checked(reply: Reply, url: URL): Promise<Reply> {
    const { status, headers } = reply;
    if (status === 200 || status === 206) return reply;
    let text = "";
    try {
      for await (const chunk of reply.body()) {
        text += Buffer.from(chunk).toString("utf8");
        if (text.length >= MAX_ERROR_TEXT) break;
      }
    } catch {
      // The status says enough.
    }
    const afterMs = status === 429 || status === 503 ? retryAfter(headers) : undefined;
    throw new TransferError(`${url.host} answers ${status} for ${url.pathname}`, {
      retry: RETRIED.has(status),
      status,
      headers,
      text: text.slice(0, MAX_ERROR_TEXT),
      afterMs,
    });
  }

  private failure(url: URL, error: unknown, signal: AbortSignal | undefined): unknown {
    if (signal?.aborted) return signal.reason;
    const code = (error as { code?: unknown }).code;
    const why =
      error instanceof Silence
        ? `it was silent for ${this.silenceMs / 1000} s`
        : (NETWORK_ERRORS[String(code)] ?? (error instanceof Error ? error.message : String(error)));
    return new TransferError(`${url.host} cannot be reached: ${why}`, { retry: true, cause: error });
  }
}

class Silence extends Error {}

function httpUrl(text: string, base?: URL): URL {
  const url = URL.canParse(text, base) ? new URL(text, base) : undefined;
  if (url && (url.protocol === "https:" || url.protocol === "http:")) return url;
  throw new TransferError(`${JSON.stringify(text)} is no http or https address`, { retry: false });
}

/** Retry-After: seconds or a date. */
function retryAfter(headers: Headers): number | undefined {
  const value = headers.get("retry-after");
  if (value === null) return undefined;
  const ms = /^\d+$/.test(value.trim()) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}

async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const leave = () => {
      clearTimeout(timer);
      reject(signal!.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", leave);
      resolve();
    }, ms);
    signal?.addEventListener("abort", leave, { once: true });
  });
}

/** What to tell people of a request that failed for good; anything else comes back as it is. */
export function reported(error: unknown): unknown {
  if (!(error instanceof TransferError)) return error;
  const { status, afterMs } = error.detail;
  const hint =
    status === 429 || status === 503
      ? `The server is busy${afterMs === undefined ? "" : ` and asks for ${Math.ceil(afterMs / 1000)} s of patience`}: try again later; what is here already is kept.`
      : status === undefined
        ? "Check the network and the proxy settings (HTTPS_PROXY, NO_PROXY), then pull again; what is here already is kept."
        : "Pull again; what is here already is kept.";
  return new AlloyError("download_failed", error.message, { hint, cause: error });
}
