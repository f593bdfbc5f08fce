/** Poolside Laguna: GLM's tags in turns that end with `</assistant>`. */
import type { ToolFormat } from "./format.ts";
import { glm } from "./glm.ts";

export const laguna: ToolFormat = {
  ...glm,
  name: "laguna",
  matches: (template) => template.includes("<arg_key>") && template.includes("</assistant>"),
  stops: ["</assistant>"],
};
