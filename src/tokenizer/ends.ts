/** Which tokens end a generation. Files rarely say it all, so the names that models use are known here. */
import { TokenType, type Vocabulary } from "./vocabulary.ts";

const NAMES = [
  "<|eot_id|>",
  "<|eom_id|>",
  "<|im_end|>",
  "<|end|>",
  "<|return|>",
  "<|call|>",
  "<|flush|>",
  "<|calls|>",
  "<end_of_turn>",
  "<|endoftext|>",
  "<|end_of_text|>",
  "<end_of_utterance>",
  "<turn|>",
  "<|tool_response>",
  "<\uff5cend\u2581of\u2581sentence\uff5c>",
  "_<EOT>",
  "[e~[",
];
/** These could be text in a vocabulary that does not mark them. */
const MARKED_NAMES = ["</s>", "<eos>", "<EOT>", "[EOT]", "[EOS]"];

/**
 * End tokens of a vocabulary: `declared` ids (those out of range are left out) and the known names.
 * In the harmony and Solar formats `<|end|>` only ends a message, not the turn; Gemma 4's `</s>` is markup.
 */
export function endTokens(vocab: Vocabulary, declared: readonly (number | undefined)[]): Set<number> {
  const ends = new Set<number>();
  for (const id of declared) if (id !== undefined && id >= 0 && id < vocab.size) ends.add(id);
  const has = (name: string) => vocab.ids.has(name);
  for (const name of NAMES) {
    const id = vocab.ids.get(name);
    if (id !== undefined) ends.add(id);
  }
  for (const name of MARKED_NAMES) {
    const id = vocab.ids.get(name);
    if (id !== undefined && vocab.types[id] !== TokenType.normal) ends.add(id);
  }
  const drop = (name: string) => {
    const id = vocab.ids.get(name);
    if (id !== undefined && !declared.includes(id)) ends.delete(id);
  };
  if ((has("<|return|>") && has("<|call|>")) || ((has("<|call|>") || has("<|calls|>")) && has("<|flush|>"))) drop("<|end|>");
  if (has("<|tool_response>")) drop("</s>");
  return ends;
}
