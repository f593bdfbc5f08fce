/** The tool-call formats, in the order in which templates are tried. The last one takes everything. */
import type { ToolFormat } from "./format.ts";
import { generic } from "./generic.ts";
import { granite } from "./granite.ts";
import { hermes } from "./hermes.ts";
import { llama3 } from "./llama3.ts";
import { mistral } from "./mistral.ts";

export const TOOL_FORMATS: readonly ToolFormat[] = [mistral, granite, hermes, llama3, generic];

/** The format of a template that shows tools. */
export function toolFormat(template: string): ToolFormat {
  return TOOL_FORMATS.find((f) => f.matches(template)) ?? generic;
}
