/** Whole answers in fewer bytes, for clients that take them. Streams never: every frame has to go out at once (spec 1.2). */
import { promisify } from "node:util";
import zlib from "node:zlib";

/** Off this thread, which the streams of others need. */
const ENCODERS = { zstd: promisify(zlib.zstdCompress), gzip: promisify(zlib.gzip) };
export type Encoding = keyof typeof ENCODERS;

/** About what a packet holds: less would arrive no sooner. */
const MIN_BYTES = 1400;

/** What an Accept-Encoding header permits, the better one first (RFC 9110, 12.5.3). A wildcard names nothing that is known to be liked. */
export function acceptedEncoding(header: string | null): Encoding | undefined {
  const accepted = (header ?? "")
    .toLowerCase()
    .split(",")
    .map((part) => part.split(";").map((s) => s.trim()))
    .filter(([, q]) => q === undefined || !/^q=0(\.0*)?$/.test(q))
    .map(([name]) => name);
  return (Object.keys(ENCODERS) as Encoding[]).find((e) => accepted.includes(e));
}

/** Undefined where it is not worth it. */
export async function compress(bytes: Uint8Array, encoding: Encoding): Promise<Uint8Array<ArrayBuffer> | undefined> {
  if (bytes.byteLength < MIN_BYTES) return undefined;
  return new Uint8Array(await ENCODERS[encoding](bytes));
}

/** A response of JSON text as the client likes it; any other as it is. */
export async function compressJson(request: Request, response: Response): Promise<Response> {
  const type = response.headers.get("content-type") ?? "";
  const encoding = acceptedEncoding(request.headers.get("accept-encoding"));
  if (!encoding || !response.body || !type.startsWith("application/json") || response.headers.has("content-encoding")) return response;
  const plain = await response.bytes();
  const body = await compress(plain, encoding);
  const headers = new Headers(response.headers);
  headers.append("vary", "Accept-Encoding");
  if (body) headers.set("content-encoding", encoding);
  return new Response(body ?? plain, { status: response.status, headers });
}
