/** `alloy tokenize`. */
import { printJson, type Context } from "../context.ts";
import { strictCommand, UsageError } from "../strict.ts";

export default strictCommand({
  name: "tokenize",
  summary: "turn text into token ids, and back",
  description: `Reads standard input when TEXT is left out, every byte of it. Special tokens written in the text (<|im_end|>) are recognised;
those that the tokenizer adds by itself (begin of text) are added with --special only.`,
  args: {
    model: { type: "positional", required: true, description: "A model: a path, `demo`, or a name that `alloy list` shows" },
    text: { type: "positional", rest: true, description: "The text, or with --decode the ids" },
    special: { type: "boolean", description: "Add the tokens that the tokenizer adds by itself" },
    plain: { type: "boolean", description: "Treat special tokens in the text as plain text" },
    decode: { type: "boolean", alias: "d", description: "Ids (separated by commas or spaces) to text" },
    count: { type: "boolean", description: "Print the number of tokens only" },
  },
  examples: [
    ['alloy tokenize demo "Hello world"', "one line per token: id and piece"],
    ["alloy tokenize demo --json < notes.txt", '{"ids":[...],"pieces":[...]}'],
    ["alloy tokenize demo --decode 39,68,75", "back to text"],
  ],
  async run(args, { io, json, deps }: Context) {
    const text = args.text.length > 0 ? args.text.join(" ") : await io.readStdin();
    const tokenizer = await deps.openTokenizer(args.model);
    if (args.decode) {
      const ids = parseIds(text, tokenizer.vocabSize);
      const decoded = tokenizer.decode(ids);
      if (json) printJson(io, { text: decoded });
      else io.out(decoded + (io.stdoutIsTty ? "\n" : ""));
      return;
    }
    const ids = tokenizer.encode(text, { addSpecial: args.special ?? false, parseSpecial: !args.plain });
    if (args.count) {
      if (json) printJson(io, { count: ids.length });
      else io.out(`${ids.length}\n`);
      return;
    }
    const pieces = ids.map((id) => tokenizer.piece(id));
    if (json) printJson(io, { ids, pieces });
    else io.out(ids.map((id, i) => `${id}\t${pieces[i]}\n`).join(""));
  },
});

/** Ids in any of the forms `1,2,3`, `1 2 3`, `[1,2,3]`, `{"ids":[1,2,3]}`. Throws UsageError. */
function parseIds(text: string, vocabSize: number): number[] {
  const list = /"ids"\s*:\s*\[([^\]]*)\]/.exec(text)?.[1] ?? text.replace(/^\s*\[|\]\s*$/g, "");
  return list
    .split(/[\s,]+/)
    .filter((w) => w !== "")
    .map((word) => {
      const id = Number(word);
      if (!Number.isInteger(id) || id < 0 || id >= vocabSize) {
        throw new UsageError(`"${word}" is not a token id`, `ids of this model are whole numbers from 0 to ${vocabSize - 1}`);
      }
      return id;
    });
}
