/** HEAD and POST /api/blobs/sha256:HEX (spec 4.10): files for /api/create. */
import { parseDigest } from "../../../hub/manifest.ts";
import { hasBlob } from "../../../hub/store/blobs.ts";
import { receiveBlob } from "../../../hub/store/upload.ts";
import { alloyRoot } from "../../../hub/stores.ts";
import { AlloyError } from "../../../support/errors.ts";
import type { RequestContext } from "../../context.ts";

export async function headBlob(context: RequestContext): Promise<Response> {
  return new Response(null, { status: hasBlob(alloyRoot(context.settings.env), digestOf(context)) ? 200 : 404 });
}

export async function postBlob(context: RequestContext): Promise<Response> {
  const digest = digestOf(context);
  const root = alloyRoot(context.settings.env);
  if (hasBlob(root, digest)) return new Response(null, { status: 200 });
  const length = context.request.headers.get("content-length");
  const body = context.request.body ?? new Blob([]).stream();
  await receiveBlob(root, digest, pieces(context, body), length === null ? undefined : Number(length));
  return new Response(null, { status: 201 });
}

/** A blob may be of any length: the client has its time for each piece. */
async function* pieces({ request, state }: RequestContext, body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const piece of body as unknown as AsyncIterable<Uint8Array>) {
    state.patience.reading(request);
    yield piece;
  }
  state.patience.working(request);
}

function digestOf({ rest }: RequestContext): string {
  const digest = parseDigest(rest);
  if (digest !== undefined) return digest;
  throw new AlloyError("invalid_value", `invalid digest format: ${JSON.stringify(rest.slice(0, 100))}`, {
    hint: "Write it as sha256: and 64 hex digits.",
  });
}
