/** The tool-call formats, in the order in which templates are tried: the more particular first. The last one takes everything. */
import { apriel, jamba } from "./apriel.ts";
import { commandA, commandR } from "./command-r.ts";
import { deepseekDsml, deepseekV3, deepseekV31 } from "./deepseek.ts";
import { firefunction } from "./firefunction.ts";
import type { ToolFormat } from "./format.ts";
import { functionary, functionary31 } from "./functionary.ts";
import { functionGemma, gemma } from "./gemma.ts";
import { generic } from "./generic.ts";
import { gigachat, gigachat31 } from "./gigachat.ts";
import { glm } from "./glm.ts";
import { granite } from "./granite.ts";
import { harmony } from "./harmony.ts";
import { hermes } from "./hermes.ts";
import { kimi } from "./kimi.ts";
import { laguna } from "./laguna.ts";
import { lfm2 } from "./lfm2.ts";
import { llama3 } from "./llama3.ts";
import { minimaxM2, minimaxM3 } from "./minimax.ts";
import { mistral, mistralArgs } from "./mistral.ts";
import { nemotron } from "./nemotron.ts";
import { qwenXml } from "./qwen-xml.ts";
import { reka } from "./reka.ts";
import { seed } from "./seed.ts";
import { solar } from "./solar.ts";

export const TOOL_FORMATS: readonly ToolFormat[] = [
  harmony,
  deepseekDsml,
  deepseekV3,
  deepseekV31,
  kimi,
  solar,
  minimaxM3,
  minimaxM2,
  gemma,
  functionGemma,
  seed,
  gigachat31,
  gigachat,
  functionary,
  firefunction,
  commandA,
  commandR,
  mistralArgs,
  mistral,
  apriel,
  jamba,
  nemotron,
  qwenXml,
  functionary31,
  laguna,
  glm,
  reka,
  granite,
  hermes,
  lfm2,
  llama3,
  generic,
];

/** The format in which a template's model writes calls. `isToken` asks the vocabulary. */
export function toolFormat(template: string, isToken: (text: string) => boolean = () => false): ToolFormat {
  return TOOL_FORMATS.find((f) => f.matches(template, isToken)) ?? generic;
}
