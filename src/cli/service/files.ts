/** Writing and removing the service's files: only its own, whole or not at all. */
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { AlloyError } from "../../support/errors.ts";
import { MARK, type ServiceFile } from "./description.ts";

/** Makes a file be as described; whether it was not. Throws `forbidden` for one that is somebody else's, `io_error`. */
export function putFile({ path, text, secret }: ServiceFile): boolean {
  const mode = secret ? 0o600 : 0o644;
  return guarded(path, () => {
    const present = ownText(path);
    if (present === text) {
      chmodSync(path, mode);
      return false;
    }
    mkdirSync(dirname(path), { recursive: true });
    const part = `${path}.${process.pid}.part`;
    writeFileSync(part, text, { mode });
    renameSync(part, path);
    return true;
  });
}

/** Whether there was one. Throws `forbidden` for one that is somebody else's, `io_error`. */
export function removeFile(path: string): boolean {
  return guarded(path, () => {
    if (ownText(path) === undefined) return false;
    rmSync(path);
    return true;
  });
}

/** Text of a file of the service; undefined where there is none. Throws `forbidden` for a file that it did not make. */
export function ownText(path: string): string | undefined {
  if (!existsSync(path)) return undefined;
  const text = readFileSync(path, "utf8");
  if (text.includes(MARK)) return text;
  throw new AlloyError("forbidden", `${path} is there already and was not made by \`alloy service\``, {
    hint: "Move it away, or manage the service by hand.",
  });
}

function guarded<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (e) {
    if (e instanceof AlloyError) throw e;
    const { code, message } = e as NodeJS.ErrnoException;
    const denied = code === "EACCES" || code === "EPERM" || code === "EROFS";
    throw new AlloyError("io_error", `${path}: ${message}`, {
      hint: denied ? "Run it with sudo for --system, or leave --system out." : undefined,
      cause: e,
    });
  }
}
