/** Errors as the snapshots of the compiler's tests hold them. */
import { AlloyError } from "../../src/support/errors.ts";

/** Message and hint of the error that `f` throws, without this machine's folders. */
export function message(f: () => unknown): string {
  try {
    f();
  } catch (e) {
    if (!(e instanceof AlloyError) || e.code !== "kernel_error") throw e;
    // Without line numbers, so that the tests of this file may move, and without the snapshot that follows on the line.
    const text = e.message
      .replace(/\((?:[^()\s]*\/)?([\w.-]+\.ts):(\d+)\)/g, (_, file: string) => `(${file}:LINE)`)
      .replace(/\.toMatchInlineSnapshot.*$/m, "");
    return `\n${text}${e.hint ? `\n${e.hint}` : ""}\n`;
  }
  throw new Error("no error");
}
