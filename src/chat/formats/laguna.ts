/** Poolside Laguna: GLM's tags in turns that end with `</assistant>`. */
import type { MarkedFormat } from "./format.ts";
import { glm } from "./glm.ts";

export const laguna: MarkedFormat = {
  ...glm,
  name: "laguna",
  matches: (template) => template.includes("<arg_key>") && template.includes("</assistant>"),
  stops: ["</assistant>"],
};
