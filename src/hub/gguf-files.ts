/** GGUF files in a folder: which there are, and which one a quantization name means. */
import { basename, join } from "node:path";
import { AlloyError } from "../support/errors.ts";
import { splitName, splitPath } from "../formats/gguf.ts";
import { entries } from "./stores.ts";

export interface GgufFile {
  /** The file, or the first shard. */
  path: string;
  /** File name without `.gguf` and shard numbers. */
  stem: string;
  /** Quantization that the file name ends in ("Q4_K_M", "UD-Q4_K_XL", "BF16"), in capitals; "" when it names none. */
  label: string;
}

const MAX_DEPTH = 3;
const LABEL = /(?:^|[-_.])((?:UD-)?(?:I?Q\d(?:_[A-Z0-9]+)*|TQ\d_\d|MXFP4(?:_MOE)?|BF16|F16|FP16|F32))$/i;

/** What to take when the reference names no quantization and there are several: small and good first. */
const PREFERRED = [
  "Q4_K_M",
  "UD-Q4_K_XL",
  "Q4_K_S",
  "MXFP4",
  "MXFP4_MOE",
  "Q4_0",
  "IQ4_XS",
  "IQ4_NL",
  "Q5_K_M",
  "Q6_K",
  "Q8_0",
  "BF16",
  "F16",
  "F32",
];

/**
 * GGUF models under a folder, split ones once, projectors left out. Follows links to files, as the Hugging Face cache has them.
 * @param depth of the folder below where the search began
 */
export function ggufFiles(folder: string, depth = 0): GgufFile[] {
  return entries(folder).flatMap((entry): GgufFile[] => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return depth < MAX_DEPTH ? ggufFiles(path, depth + 1) : [];
    return ggufAmong([path]);
  });
}

/** GGUF models among paths, split ones once, projectors left out. */
export function ggufAmong(paths: readonly string[]): GgufFile[] {
  return paths.flatMap((path): GgufFile[] => {
    const name = basename(path);
    const split = splitName(path);
    if (!isGguf(name) || isProjector(name) || (split && split.index !== 1)) return [];
    const stem = name.replace(/(?:-\d{5}-of-\d{5})?\.gguf$/i, "");
    return [{ path, stem, label: quantLabel(stem) }];
  });
}

/** Quantization at the end of a file's stem, in capitals; "" when there is none. */
export function quantLabel(stem: string): string {
  return LABEL.exec(stem)?.[1].toUpperCase() ?? "";
}

/** Path of the projector (mmproj) file directly in a folder, if there is one. */
export function findProjector(folder: string): string | undefined {
  const entry = entries(folder).find(({ name }) => isProjector(name));
  return entry && join(folder, entry.name);
}

function isGguf(name: string): boolean {
  return /\.gguf$/i.test(name);
}

/** Whether a file name is that of a GGUF file with a vision or audio projector. */
export function isProjector(name: string): boolean {
  return isGguf(name) && /^mmproj|[-_.]mmproj/i.test(name);
}

/** All files of a GGUF model: one, or its shards. */
export function shardPaths(path: string): string[] {
  const split = splitName(path);
  if (!split) return [path];
  return Array.from({ length: split.count }, (_, i) => splitPath(split.prefix, i + 1, split.count));
}

/**
 * The file that `quant` means among those of one model: the label itself, the label without `UD-`, or a part of exactly one
 * file's name. Without `quant` the only file, or the first of a fixed list of common quantizations.
 * Throws `model_not_found` when none fits and `bad_argument` when several do; `installed` only changes what is said then.
 */
export function chooseGguf(name: string, files: readonly GgufFile[], quant?: string, installed = true): GgufFile {
  if (quant === undefined) return chooseDefault(files);
  const wanted = quant.toUpperCase().replace(/\.GGUF$/, "");
  const tests: ((file: GgufFile) => boolean)[] = [
    ({ label, stem }) => label === wanted || stem.toUpperCase() === wanted,
    ({ label }) => label === `UD-${wanted}`,
    ({ stem }) => stem.toUpperCase().includes(wanted),
  ];
  for (const test of tests) {
    const hits = files.filter(test);
    if (hits.length === 1) return hits[0];
    if (hits.length > 1)
      throw new AlloyError("bad_argument", `"${quant}" fits ${hits.length} files of ${name}: ${list(hits)}`, {
        hint: "Write more of the file's name after the colon.",
      });
  }
  throw new AlloyError("model_not_found", `${name} is ${installed ? "installed, but not" : "not to be had"} as "${quant}"`, {
    hint: `${installed ? "Installed" : "There are"}: ${list(files)}.`,
    data: { model: `${name}:${quant}` },
  });
}

function chooseDefault(files: readonly GgufFile[]): GgufFile {
  for (const label of PREFERRED) {
    const hit = files.find((file) => file.label === label);
    if (hit) return hit;
  }
  return files[0];
}

function list(files: readonly GgufFile[]): string {
  return files.map(({ label, stem }) => label || stem).join(", ");
}
