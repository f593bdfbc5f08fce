/** How a model marks its reasoning. */

export interface ReasoningMarkers {
  open: string;
  close: string;
}

/** Pairs in use. A template that writes the closing marker belongs to a model that does; the more particular come first. */
const MARKERS: readonly ReasoningMarkers[] = [
  { open: "<seed:think>", close: "</seed:think>" },
  { open: "<mm:think>", close: "</mm:think>" },
  { open: "<think>", close: "</think>" },
  { open: "<thinking>", close: "</thinking>" },
  { open: "[THINK]", close: "[/THINK]" },
  { open: "<|START_THINKING|>", close: "<|END_THINKING|>" },
  { open: "<|channel>thought", close: "<channel|>" },
  { open: "Here is my thought process:", close: "Here is my response:" },
];

/** The markers of a template, or those that the vocabulary has tokens for. */
export function reasoningMarkers(template: string, isToken: (text: string) => boolean): ReasoningMarkers | undefined {
  return MARKERS.find((m) => template.includes(m.close)) ?? MARKERS.find((m) => isToken(m.open) && isToken(m.close));
}

/** Whether `text` ends inside of reasoning that it opened, at its very end or (`anywhere`) somewhere in it. */
export function opensReasoning(text: string, markers: ReasoningMarkers | undefined, anywhere = false): boolean {
  if (!markers) return false;
  if (anywhere) return text.lastIndexOf(markers.open) > text.lastIndexOf(markers.close);
  return text.trimEnd().endsWith(markers.open.trimEnd());
}
