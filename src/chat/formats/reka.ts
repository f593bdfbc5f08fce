/** Reka Edge: Hermes' calls in turns that end with `<sep>`. */
import type { MarkedFormat } from "./format.ts";
import { hermes } from "./hermes.ts";

export const reka: MarkedFormat = {
  ...hermes,
  name: "reka",
  matches: (template) => template.includes("<sep>") && template.includes("<tool_call>"),
  stops: ["<sep>"],
};
