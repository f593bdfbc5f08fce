/** Who asks: a browser that shows pages, or a program. */

/** The types of which a client may want `/`: the page, or the greeting. */
const OTHERS = ["text/plain", "application/json"];

/**
 * Whether an Accept header names `text/html` and ranks it at least as high as plain text and JSON (RFC 9110, 12.5.1). Wildcards do not count:
 * `curl` and SDKs send them and compare the body.
 */
export function prefersHtml(accept: string | null): boolean {
  const weights = new Map<string, number>();
  for (const part of (accept ?? "").split(",")) {
    const [type, ...parameters] = part.split(";").map((s) => s.trim().toLowerCase());
    const q = parameters.find((p) => p.startsWith("q="));
    const weight = q === undefined ? 1 : Number(q.slice(2));
    weights.set(type, Number.isNaN(weight) ? 0 : weight);
  }
  const html = weights.get("text/html") ?? 0;
  return html > 0 && OTHERS.every((type) => (weights.get(type) ?? 0) <= html);
}
