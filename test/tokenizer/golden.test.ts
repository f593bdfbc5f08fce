/** Ids of the golden tokenizers, by both routes, and of the real vocabularies beside the repository. */
import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { openModel } from "../../src/formats/open.ts";
import type { Tokenizer } from "../../src/tokenizer/api.ts";
import { loadTokenizer } from "../../src/tokenizer/load.ts";
import { fromFolder, GOLDEN, json, SHARED } from "./helpers.ts";

interface Cases {
  cases: { text: string; ids: number[]; ids_with_special: number[]; decoded: string }[];
  chat?: { text: string; ids: number[] }[];
}

function checkCases(tokenizer: Tokenizer, { cases, chat = [] }: Cases): void {
  for (const c of cases) {
    expect({ text: c.text, ids: tokenizer.encode(c.text) }).toEqual({ text: c.text, ids: c.ids });
    expect({ text: c.text, ids: tokenizer.encode(c.text, { addSpecial: true }) }).toEqual({ text: c.text, ids: c.ids_with_special });
    expect(tokenizer.decode(c.ids)).toBe(c.decoded);
  }
  for (const c of chat) expect(tokenizer.encode(c.text)).toEqual(c.ids);
}

describe("tokenizer.json", () => {
  for (const name of readdirSync(GOLDEN).filter((n) => !n.includes("."))) {
    test(name, () => checkCases(fromFolder(join(GOLDEN, name)), json(join(GOLDEN, name, "cases.json"))));
  }
});

const golden = join(SHARED, "golden");
describe.skipIf(!existsSync(golden))("GGUF of the golden models (skipped without ../shared/golden)", () => {
  for (const arch of existsSync(golden) ? readdirSync(golden) : []) {
    for (const variant of arch.includes(".") ? [] : readdirSync(join(golden, arch))) {
      const dir = join(golden, arch, variant);
      const reference = json(join(dir, "reference.json"));
      const file = reference && readdirSync(dir).find((f) => f.startsWith("model-") && f.endsWith(".gguf"));
      if (!file) continue;
      test(`${arch}/${variant}`, () => {
        const model = openModel(join(dir, file));
        try {
          checkCases(loadTokenizer(model), json(join(GOLDEN, reference.tokenizer, "cases.json")));
        } finally {
          model.close();
        }
      });
    }
  }
});

const vocab = join(SHARED, "vocab");
describe.skipIf(!existsSync(vocab))("real vocabularies (skipped without ../shared/vocab)", () => {
  for (const file of existsSync(vocab) ? readdirSync(vocab).filter((f) => f.endsWith(".gguf")) : []) {
    test(file, () => {
      const model = openModel(join(vocab, file));
      const tokenizer = loadTokenizer(model);
      const texts = readFileSync(join(vocab, `${file}.inp`), "utf8").split("\n__ggml_vocab_test__\n");
      const lines = readFileSync(join(vocab, `${file}.out`), "utf8").split("\n");
      expect(texts.length).toBeGreaterThan(40);
      texts.forEach((text, i) => {
        const ids = lines[i].trim() === "" ? [] : lines[i].trim().split(/\s+/).map(Number);
        expect({ text, ids: tokenizer.encode(text, { parseSpecial: false }) }).toEqual({ text, ids });
      });
      model.close();
    });
  }
});
