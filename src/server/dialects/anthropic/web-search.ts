/** Requests that want nothing but the web, which only Anthropic's servers search (spec 3.6). Claude Code's WebSearch makes them. */
import type { EndEvent, Generation } from "../../generation.ts";

const TEXT =
  "Web search is not available: this conversation runs on a local model, and its server does not use the internet. " +
  "No search was made; answer from what is known, or ask the user for the text of a page.";

/** Whether all that a request offers are Anthropic's tools for the web. A model that is asked to search without one would make results up. */
export function wantsOnlyTheWeb(tools: readonly { type?: string | null }[] | null | undefined): boolean {
  return !!tools?.length && tools.every(({ type }) => /^web_(search|fetch)_\d/.test(type ?? ""));
}

/** The answer to such a request, in place of a model's. */
export function noWebSearch(): Generation {
  const usage = { promptTokens: 0, cachedTokens: 0, completionTokens: 0, reasoningTokens: 0 };
  const timings = { queued: 0, load: 0, prefill: 0, decode: 0, total: 0 };
  const end: EndEvent = { type: "end", reason: "stop", usage, timings, ids: [] };
  return {
    start: { type: "start", promptTokens: 0, seed: 0 },
    events: (async function* () {
      yield { type: "delta", delta: { type: "text", text: TEXT } } as const;
      yield end;
    })(),
  };
}
