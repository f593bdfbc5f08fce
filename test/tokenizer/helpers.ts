/** Tokenizers of the fixtures. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Tokenizer } from "../../src/tokenizer/api.ts";
import { loadTokenizer } from "../../src/tokenizer/load.ts";

export const GOLDEN = join(import.meta.dir, "../fixtures/golden/tokenizers");
/** Material beside the repository that is not part of it. */
export const SHARED = join(import.meta.dir, "../../../shared");

/** A parsed JSON file, or undefined where there is none. */
export const json = (path: string) => (existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : undefined);

/** The tokenizer of a folder with tokenizer.json. */
export function fromFolder(dir: string): Tokenizer {
  const config = { config: {}, tokenizer: json(join(dir, "tokenizer.json")), tokenizerConfig: json(join(dir, "tokenizer_config.json")) };
  return loadTokenizer({ metadata: new Map(), config });
}
