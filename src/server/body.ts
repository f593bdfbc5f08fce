/** Request bodies: size limit, content decoding, JSON. The content type is never looked at (spec 1.2). */
import zlib from "node:zlib";
import { promisify } from "node:util";
import { AlloyError } from "../support/errors.ts";
import type { RequestContext } from "./context.ts";
import { bodyTerms } from "./terms.ts";
import { jsonErrorMessage, nestsDeeper } from "./json-error.ts";

type Inflate = (data: Uint8Array, options: { maxOutputLength: number }) => Promise<Uint8Array>;

const DECODERS: Record<string, Inflate> = {
  gzip: promisify(zlib.gunzip) as Inflate,
  "x-gzip": promisify(zlib.gunzip) as Inflate,
  deflate: promisify(zlib.inflate) as Inflate,
  br: promisify(zlib.brotliDecompress) as Inflate,
  zstd: promisify(zlib.zstdDecompress) as Inflate,
};

/** Deeper values would overflow the stack of whatever walks them: templates, schemas, the copy to the engine's thread. */
const MAX_DEPTH = 512;

/**
 * The request's JSON value. Throws `invalid_json` (also for an empty body), `request_too_large`, `unsupported_content` for an unknown
 * Content-Encoding.
 */
export async function readJson(context: RequestContext): Promise<unknown> {
  const raw = await readBytes(context, context.settings.maxBody);
  const bytes = await decode(raw, context.request.headers.get("content-encoding"), context.settings.maxBody);
  const text = new TextDecoder().decode(bytes);
  if (text.trim() === "") {
    throw new AlloyError("bad_argument", "missing request body", { hint: "Send a JSON object." });
  }
  const value = parse(text);
  context.agree(bodyTerms(value));
  if (nestsDeeper(text, MAX_DEPTH)) {
    throw new AlloyError("invalid_json", `the request body is nested more than ${MAX_DEPTH} levels deep`, { hint: "Flatten it." });
  }
  return value;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new AlloyError("invalid_json", `the request body is not JSON: ${jsonErrorMessage(text)}`);
  }
}

/** A body of at most `limit` bytes as it was sent. Throws `request_too_large`. */
export async function readBytes(context: RequestContext, limit: number): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = await received(context, limit);
  context.state.patience.working(context.request);
  return bytes;
}

async function received({ request, state }: RequestContext, limit: number): Promise<Uint8Array<ArrayBuffer>> {
  if (Number(request.headers.get("content-length") ?? 0) > limit) throw tooLarge(limit);
  if (!request.body) return new Uint8Array(0);
  // With a length the server takes no more than that; without one it has to be counted as it comes.
  if (request.headers.has("content-length")) return request.bytes();
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let size = 0;
  for await (const chunk of request.body) {
    size += chunk.byteLength;
    if (size > limit) throw tooLarge(limit);
    chunks.push(chunk);
    state.patience.reading(request);
  }
  return chunks.length === 1 ? chunks[0] : Buffer.concat(chunks, size);
}

async function decode(bytes: Uint8Array, header: string | null, limit: number): Promise<Uint8Array> {
  const encodings = (header ?? "")
    .split(",")
    .map((e) => e.trim().toLowerCase())
    .filter((e) => e !== "" && e !== "identity");
  if (encodings.length > 2) throw new AlloyError("unsupported_content", `too many Content-Encodings: ${header}`);
  for (const encoding of encodings.reverse()) {
    const inflate = Object.hasOwn(DECODERS, encoding) ? DECODERS[encoding] : undefined;
    if (!inflate) {
      throw new AlloyError("unsupported_content", `the Content-Encoding '${encoding}' is not known`, {
        hint: "Use gzip, deflate, br, zstd or none.",
      });
    }
    try {
      bytes = await inflate(bytes, { maxOutputLength: limit });
    } catch (e) {
      if ((e as { code?: string }).code === "ERR_BUFFER_TOO_LARGE") throw tooLarge(limit);
      throw new AlloyError("unsupported_content", `the request body is not valid ${encoding} data`, { cause: e });
    }
  }
  return bytes;
}

function tooLarge(limit: number): AlloyError {
  return new AlloyError("request_too_large", `the request body is larger than ${limit} bytes`, {
    hint: "Send less, or raise ALLOY_MAX_BODY.",
  });
}
