/** Filling in the middle: what stands before and after a gap as one prompt, in the way that the model was taught (spec 2.4, 4.2, 5). */
import type { ModelInfo, Prompt } from "../engine/api.ts";
import { AlloyError } from "../support/errors.ts";
import type { RequestContext } from "./context.ts";

/** A text of the same project, to be known while the gap is filled. */
export interface ExtraFile {
  filename?: string | null;
  text: string;
}

export interface Gap {
  before: string;
  after: string;
  /** Behind `before`, and not counted to the text before the gap (llama-server's `prompt`). */
  begun?: string;
  extra?: readonly ExtraFile[];
}

/** Keys of GGUF, newer and older. */
const KEYS = {
  prefix: ["fim_pre_token_id", "prefix_token_id"],
  suffix: ["fim_suf_token_id", "suffix_token_id"],
  middle: ["fim_mid_token_id", "middle_token_id"],
  repository: ["fim_rep_token_id"],
  file: ["fim_sep_token_id"],
};

/** What llama-server puts before a text where the model has no token for that. */
const SNIPPET = "\n\n--- snippet ---\n\n";

function tokenOf({ metadata }: ModelInfo, key: keyof typeof KEYS): number | undefined {
  return KEYS[key].map((name) => metadata[`tokenizer.ggml.${name}`]).find((id) => typeof id === "number");
}

/** Whether the model has the tokens that mark a gap. */
export const fillsGaps = (info: ModelInfo): boolean =>
  (["prefix", "suffix", "middle"] as const).every((key) => tokenOf(info, key) !== undefined);

/** Throws `unsupported_capability` for a model that cannot fill gaps. */
export function requireInsert(info: ModelInfo, param: string): void {
  if (fillsGaps(info)) return;
  throw new AlloyError("unsupported_capability", `the model '${info.name}' does not support insert`, {
    hint: "Take a model that was made for code, and whose file names its fill-in-the-middle tokens.",
    param,
  });
}

/** Prefix, suffix, then the token behind which the middle follows; files of the project come first. For models with `fillsGaps`. */
export async function gapPrompt(context: RequestContext, info: ModelInfo, gap: Gap): Promise<Prompt> {
  const text = async (content: string): Promise<number[]> =>
    content === ""
      ? []
      : (await context.engine.tokenize(info.name, { kind: "text", text: content, addSpecial: false, parseSpecial: false })).ids;
  const [prefix, suffix, middle, repository, file] = (["prefix", "suffix", "middle", "repository", "file"] as const).map((k) =>
    tokenOf(info, k),
  );
  const extra: number[] = [];
  if (gap.extra?.length && repository !== undefined) extra.push(repository, ...(await text("myproject\n")));
  for (const { filename, text: content } of gap.extra ?? []) {
    if (file !== undefined) extra.push(file, ...(await text(`${filename ?? "tmp"}\n`)));
    else extra.push(...(await text(SNIPPET)));
    extra.push(...(await text(content)));
  }
  if (gap.extra?.length && file !== undefined) extra.push(file, ...(await text("filename\n")));
  // What begins a prompt, if the model wants anything there.
  const { ids: begin } = await context.engine.tokenize(info.name, { kind: "text", text: "", addSpecial: true });
  const before = [prefix!, ...(await text(gap.before)), ...(await text(gap.begun ?? ""))];
  return { kind: "ids", ids: [...begin, ...extra, ...before, suffix!, ...(await text(gap.after)), middle!] };
}
