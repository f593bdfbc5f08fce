/** Open a model from a path, by what is there and not by its name. */
import { existsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { AlloyError } from "../support/errors.ts";
import { openGguf } from "./gguf.ts";
import { openHuggingFace } from "./huggingface.ts";
import { mapFile } from "./mmap.ts";
import type { ModelFile } from "./weights.ts";

/**
 * Open a GGUF file (any shard of a split one) or a Hugging Face folder.
 * Throws `model_not_found`, `bad_file` or `unsupported_model`, with the path and what to do.
 */
export function openModel(path: string): ModelFile {
  if (isFolder(path)) return openHuggingFace(path);
  const start = firstBytes(path);
  if (start.toString("latin1", 0, 4) === "GGUF") return openGguf(path);
  throw notGguf(path, start);
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    // Opening it as a file says what is wrong.
    return false;
  }
}

function firstBytes(path: string): Buffer {
  const file = mapFile(path);
  const start = Buffer.from(file.window(0, Math.min(16, file.bytes)));
  file.close();
  return start;
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
