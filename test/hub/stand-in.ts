/** Stand-ins for model servers, on loopback: files with ranges, Ollama's registry, the Hugging Face hub; and everything that goes wrong with them. */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export const sha256 = (data: string | Uint8Array): string => createHash("sha256").update(data).digest("hex");
export const gitSha1 = (data: Uint8Array): string => createHash("sha1").update(`blob ${data.byteLength}\0`).update(data).digest("hex");

/** What happens to one answer. */
export interface Fault {
  /** Another status, with a text. */
  status?: number;
  headers?: Record<string, string>;
  text?: string;
  /** The connection breaks after this many bytes of the body. */
  cutAfter?: number;
  /** Nothing more comes after this many bytes, and the connection stays open. */
  stallAfter?: number;
  /** Announces another length than it sends. */
  announce?: number;
  /** Pause before each piece of 16 KiB. */
  slowMs?: number;
  /** Ranges are ignored: 200 and everything. */
  noRanges?: boolean;
  /** Other bytes than the file's. */
  content?: Uint8Array;
  etag?: string;
}

export interface Seen {
  method: string;
  path: string;
  headers: IncomingMessage["headers"];
}

type Answer = { body: Uint8Array; headers?: Record<string, string> } | { redirect: string } | Fault;

const PIECE = 16 * 1024;

export class StandIn {
  readonly requests: Seen[] = [];
  /** Bytes of bodies sent so far. */
  sent = 0;
  /** Asked before each answer with how many requests for that path there were before. */
  fault: (seen: Seen, before: number) => Fault | undefined = () => undefined;
  readonly #answers = new Map<string, Answer | ((seen: Seen) => Answer)>();
  readonly #server = createServer((request, response) => void this.#serve(request, response).catch(() => response.destroy()));

  static async start(): Promise<StandIn> {
    const server = new StandIn();
    await new Promise<void>((resolve) => server.#server.listen(0, "127.0.0.1", resolve));
    return server;
  }

  get url(): string {
    return `http://${this.host}`;
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  on(path: string, answer: Answer | ((seen: Seen) => Answer)): void {
    this.#answers.set(path, answer);
  }

  json(path: string, value: unknown, headers: Record<string, string> = {}): void {
    this.on(path, { body: Buffer.from(JSON.stringify(value)), headers: { "content-type": "application/json", ...headers } });
  }

  /** Requests for a path, in order. */
  of(path: string): Seen[] {
    return this.requests.filter((r) => r.path === path);
  }

  /** Publishes a model as Ollama's registry does. Gives the digests of its layers, and the manifest's bytes. */
  ollama(name: string, layers: readonly [kind: string, content: string | Uint8Array][], tag = "latest") {
    const blobs = layers.map(([kind, content]) => {
      const bytes = Buffer.from(content as string);
      this.on(`/v2/${name}/blobs/sha256:${sha256(bytes)}`, { body: bytes });
      return { mediaType: `application/vnd.ollama.image.${kind}`, digest: `sha256:${sha256(bytes)}`, size: bytes.length };
    });
    const config = Buffer.from(JSON.stringify({ model_format: "gguf", name }));
    this.on(`/v2/${name}/blobs/sha256:${sha256(config)}`, { body: config });
    const manifest = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: "application/vnd.docker.distribution.manifest.v2+json",
        config: { mediaType: "application/vnd.docker.container.image.v1+json", digest: `sha256:${sha256(config)}`, size: config.length },
        layers: blobs,
      }),
    );
    this.on(`/v2/${name}/manifests/${tag}`, { body: manifest });
    return { digests: blobs.map((b) => b.digest.slice(7)), manifest, blobPath: (i: number) => `/v2/${name}/blobs/${blobs[i].digest}` };
  }

  /** Publishes a repository as the Hugging Face hub does; files of 1,000 bytes and more are "large" ones with a SHA-256. */
  repository(name: string, files: Record<string, Uint8Array>, { commit = "c0ffee0".padEnd(40, "0"), revision = "main" } = {}): void {
    this.json(`/api/models/${name}/revision/${revision}`, { id: name, sha: commit });
    const tree = Object.entries(files).map(([path, bytes]) => ({
      type: "file",
      path,
      size: bytes.byteLength,
      oid: gitSha1(bytes),
      ...(bytes.byteLength < 1000 ? {} : { oid: "0".repeat(40), lfs: { oid: sha256(bytes), size: bytes.byteLength, pointerSize: 134 } }),
    }));
    this.json(`/api/models/${name}/tree/${commit}`, [{ type: "directory", path: "sub", size: 0, oid: "1".repeat(40) }, ...tree]);
    for (const [path, bytes] of Object.entries(files)) this.on(`/${name}/resolve/${commit}/${path}`, { body: bytes });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = decodeURIComponent((request.url ?? "/").replace(/^http:\/\/[^/]*/, "").replace(/\?.*$/, ""));
    const seen: Seen = { method: request.method ?? "", path, headers: request.headers };
    const before = this.of(path).length;
    this.requests.push(seen);
    const found = this.#answers.get(path);
    const answer = typeof found === "function" ? found(seen) : found;
    const fault = this.fault(seen, before) ?? (answer && !("body" in answer) && !("redirect" in answer) ? answer : {});
    if (fault.status !== undefined || answer === undefined) {
      response.writeHead(fault.status ?? 404, { "content-type": "text/plain", ...fault.headers });
      response.end(fault.text ?? "not here");
      return;
    }
    if ("redirect" in answer) {
      response.writeHead(307, { location: answer.redirect });
      response.end();
      return;
    }
    await this.#send(request, response, fault.content ?? ("body" in answer ? answer.body : Buffer.alloc(0)), {
      ...fault,
      headers: { ...("body" in answer ? answer.headers : {}), ...fault.headers },
    });
  }

  async #send(request: IncomingMessage, response: ServerResponse, whole: Uint8Array, fault: Fault): Promise<void> {
    const etag = fault.etag ?? `"${sha256(whole).slice(0, 16)}"`;
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    const changed = request.headers["if-range"] !== undefined && request.headers["if-range"] !== etag;
    const partial = range && !fault.noRanges && !changed;
    const [from, to] = partial ? [Number(range[1]), Math.min(Number(range[2]) + 1, whole.byteLength)] : [0, whole.byteLength];
    const body = whole.subarray(from, to);
    response.writeHead(partial ? 206 : 200, {
      etag,
      "content-length": String(fault.announce ?? body.byteLength),
      ...(partial ? { "content-range": `bytes ${from}-${to - 1}/${whole.byteLength}` } : {}),
      ...fault.headers,
    });
    for (let at = 0; at < body.byteLength; at += PIECE) {
      if (fault.slowMs) await Bun.sleep(fault.slowMs);
      const limit = fault.cutAfter ?? fault.stallAfter ?? Infinity;
      const piece = body.subarray(at, Math.min(at + PIECE, limit));
      if (response.destroyed) return;
      await new Promise<void>((resolve) => response.write(piece, () => resolve()));
      this.sent += piece.byteLength;
      if (at + PIECE < limit) continue;
      // Let it reach the other side before the connection breaks.
      await Bun.sleep(20);
      if (fault.cutAfter !== undefined) response.destroy();
      return;
    }
    response.end();
  }
}
