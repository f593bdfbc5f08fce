/** Chat templates for files that carry none, chosen by what the vocabulary or the architecture tells. */
import type { Tokenizer } from "../tokenizer/api.ts";

export interface BuiltinTemplate {
  name: string;
  template: string;
  /** Strings that end a turn where the vocabulary has no token for it. */
  stops: readonly string[];
  fits(tokenizer: Pick<Tokenizer, "id">, architecture: string): boolean;
}

const has = (t: Pick<Tokenizer, "id">, ...pieces: string[]) => pieces.every((p) => t.id(p) !== undefined);

/** Turns written as `before role between content after`; `answer` opens the assistant's. */
const turns = (before: string, between: string, after: string, answer: string) =>
  `{% for message in messages %}{{ '${before}' + message.role + '${between}' + message.content + '${after}' }}{% endfor %}{% if add_generation_prompt %}{{ '${answer}' }}{% endif %}`;

export const BUILTIN_TEMPLATES: readonly BuiltinTemplate[] = [
  {
    name: "chatml",
    template: turns("<|im_start|>", "\\n", "<|im_end|>\\n", "<|im_start|>assistant\\n"),
    stops: [],
    fits: (t) => has(t, "<|im_start|>", "<|im_end|>"),
  },
  {
    name: "llama3",
    template: `{{ bos_token }}${turns("<|start_header_id|>", "<|end_header_id|>\\n\\n", "<|eot_id|>", "<|start_header_id|>assistant<|end_header_id|>\\n\\n")}`,
    stops: [],
    fits: (t) => has(t, "<|start_header_id|>", "<|eot_id|>"),
  },
  {
    name: "gemma",
    template:
      "{{ bos_token }}{% for message in messages %}{% if message.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{{ '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' + message.content | trim + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}",
    stops: [],
    fits: (t) => has(t, "<start_of_turn>", "<end_of_turn>"),
  },
  {
    name: "phi3",
    template: turns("<|", "|>\\n", "<|end|>\\n", "<|assistant|>\\n"),
    stops: [],
    fits: (t) => has(t, "<|user|>", "<|assistant|>", "<|end|>"),
  },
  {
    name: "mistral",
    template:
      "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}{{ '[INST] ' + message.content + ' [/INST]' }}{% elif message.role == 'assistant' %}{{ ' ' + message.content + eos_token }}{% else %}{{ raise_exception('Only user and assistant roles are supported') }}{% endif %}{% endfor %}",
    stops: [],
    fits: (t, architecture) => has(t, "[INST]", "[/INST]") || architecture.startsWith("mistral"),
  },
  {
    name: "plain",
    template:
      "{{ bos_token }}{% for message in messages %}{% if message.role == 'system' %}{{ message.content + '\\n\\n' }}{% else %}{{ ('User: ' if message.role == 'user' else 'Assistant: ') + message.content + '\\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}",
    stops: ["\nUser:"],
    fits: () => true,
  },
];

/** The template for a model without one of its own. */
export function builtinTemplate(tokenizer: Pick<Tokenizer, "id">, architecture = ""): BuiltinTemplate {
  return BUILTIN_TEMPLATES.find((b) => b.fits(tokenizer, architecture)) as BuiltinTemplate;
}
