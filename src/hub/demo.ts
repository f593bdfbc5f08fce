/** Where the demo model lies: in assets/ of a checkout, and inside the executable, from where it is unpacked on first use. */
import embedded from "../../assets/alloy-demo-q8_0.gguf" with { type: "file" };
import { embeddedFile } from "../support/embedded.ts";

export const DEMO_NAME = "demo";

let found: string | undefined;

/** Path of the demo model's GGUF file. Throws `io_error` when the executable cannot unpack it anywhere. */
export function demoPath(): string {
  return (found ??= embeddedFile(embedded));
}
