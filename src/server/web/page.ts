/** `GET /` in a browser, and the files that the page is made of. They need no key: the page asks for one, and the API checks it. */
import { AlloyError } from "../../support/errors.ts";
import type { RequestContext } from "../context.ts";
import { acceptedEncoding, compress, type Encoding } from "../compress.ts";
import { root } from "../small.ts";
import { prefersHtml } from "./accept.ts";
import { buildPage, type PageFiles } from "./bundle.ts";
import { embeddedPage } from "./embedded.ts";

interface Served {
  body: string;
  type: string;
  etag: string;
  /** Made when first asked for. */
  encoded: Map<Encoding, Promise<Uint8Array<ArrayBuffer> | undefined>>;
}

/**
 * Scripts and styles come from here alone, and none stand in the page; it talks to this server alone; no page may frame it; and no text can
 * become HTML, whatever a model writes (trusted types, with no policy that could make them).
 */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join("; ");

const TYPES: Record<string, string> = { js: "text/javascript", css: "text/css", svg: "image/svg+xml" };

const SAFETY: [string, string][] = [
  ["x-content-type-options", "nosniff"],
  ["referrer-policy", "no-referrer"],
  ["cross-origin-opener-policy", "same-origin"],
  ["cross-origin-resource-policy", "same-origin"],
];

let files: Promise<Map<string, Served>> | undefined;

/** The page for a browser; for everyone else the greeting that Ollama's clients compare. */
export async function rootOrPage(context: RequestContext): Promise<Response> {
  context.headers.set("vary", "Accept");
  if (!prefersHtml(context.request.headers.get("accept"))) return root(context);
  const page = (await load()).get("")!;
  context.headers.set("content-security-policy", CONTENT_SECURITY_POLICY);
  // Asked for again each time, answered with 304 when nothing changed.
  return respond(context, page, "no-cache");
}

/** A file of the page. Its name changes with its content, so that browsers may keep it for good. */
export async function pageFile(context: RequestContext): Promise<Response> {
  const file = (await load()).get(`web/${context.rest}`);
  if (file === undefined) throw new AlloyError("not_found", "404 page not found");
  return respond(context, file, "public, max-age=31536000, immutable");
}

async function respond(context: RequestContext, file: Served, caching: string): Promise<Response> {
  const headers = new Headers([...SAFETY, ["cache-control", caching], ["etag", file.etag], ["content-type", file.type]]);
  const known = context.request.headers.get("if-none-match") ?? "";
  if (known.split(",").some((tag) => tag.trim().replace(/^W\//, "") === file.etag)) return new Response(null, { status: 304, headers });
  context.headers.append("vary", "Accept-Encoding");
  const encoding = acceptedEncoding(context.request.headers.get("accept-encoding"));
  const encoded = encoding && (await encodedAs(file, encoding));
  if (encoded) {
    headers.set("content-encoding", encoding);
    // Other bytes of the same content: the tag may only be a weak one.
    headers.set("etag", `W/${file.etag}`);
  }
  return new Response(context.request.method === "HEAD" ? null : (encoded ?? file.body), { headers });
}

function encodedAs(file: Served, encoding: Encoding): Promise<Uint8Array<ArrayBuffer> | undefined> {
  let encoded = file.encoded.get(encoding);
  if (!encoded) file.encoded.set(encoding, (encoded = compress(Buffer.from(file.body), encoding)));
  return encoded;
}

/** Once per process; a build that failed is tried again with the next request. */
function load(): Promise<Map<string, Served>> {
  files ??= prepare().catch((error: unknown) => {
    files = undefined;
    throw error;
  });
  return files;
}

async function prepare(): Promise<Map<string, Served>> {
  const sources: PageFiles = embeddedPage ?? (await buildPage());
  return new Map(
    Object.entries(sources).map(([path, body]) => {
      const type = TYPES[path.split(".").at(-1)!] ?? "text/html";
      const etag = `"${new Bun.CryptoHasher("sha256").update(body).digest("hex").slice(0, 16)}"`;
      return [path, { body, type: `${type}; charset=utf-8`, etag, encoded: new Map() }];
    }),
  );
}
