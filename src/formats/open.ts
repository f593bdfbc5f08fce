/** Open a model from a path, by what is there and not by its name. */
import { closeSync, existsSync, openSync, readSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { AlloyError } from "../support/errors.ts";
import { openGguf } from "./gguf.ts";
import { openHuggingFace } from "./huggingface.ts";
import type { ModelFile } from "./weights.ts";

/**
 * Open a GGUF file (any shard of a split one) or a Hugging Face folder.
 * Throws `model_not_found`, `bad_file` or `unsupported_model`, with the path and what to do.
 */
export function openModel(path: string): ModelFile {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat?.isDirectory()) return openHuggingFace(path);
  if (!stat || stat.size === 0) return openGguf(path);
  const start = firstBytes(path);
  if (start.toString("latin1", 0, 4) === "GGUF") return openGguf(path);
  throw notGguf(path, start);
}

function firstBytes(path: string): Buffer {
  const bytes = Buffer.alloc(16);
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (e) {
    throw new AlloyError("bad_file", `cannot open ${path}: ${(e as { code?: string }).code ?? String(e)}`, {
      hint: "Check the permissions of the file and its folders.",
      cause: e,
    });
  }
  try {
    return bytes.subarray(0, readSync(fd, bytes, 0, 16, 0));
  } finally {
    closeSync(fd);
  }
}

/** What the file seems to be instead, so that the hint can name the next step. */
function notGguf(path: string, start: Buffer): AlloyError {
  const hex = start.toString("hex", 0, 4);
  const folder = dirname(path);
  if (start.length > 8 && start[8] === 0x7b && path.endsWith(".safetensors"))
    return new AlloyError("bad_file", `${path} is a single safetensors file, which does not say what model it belongs to`, {
      hint: existsSync(join(folder, "config.json"))
        ? `Give its folder instead: ${folder}`
        : "Give a folder that holds config.json, tokenizer.json and the safetensors files.",
    });
  if (start.toString("latin1").startsWith("version https://"))
    return new AlloyError("bad_file", `${path} is a Git LFS pointer, not the model itself`, {
      hint: "Fetch the file with `git lfs pull`, or download it.",
    });
  if (hex === "504b0304")
    return new AlloyError("unsupported_model", `${path} is a zip archive (a PyTorch checkpoint?), which Alloy does not read`, {
      hint: "Take the safetensors or GGUF form of the model.",
    });
  return new AlloyError("bad_file", `${path} is no model file: magic at byte 0 is 0x${hex}, not GGUF's 0x47475546`, {
    hint: "Give a .gguf file or a Hugging Face model folder. If it should be one, download it again.",
  });
}
