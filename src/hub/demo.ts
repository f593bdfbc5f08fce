/**
 * Where the embedded demo model lies. From a checkout it is the file in assets/; the compiled executable cannot map what it
 * embeds, so its entry point extracts the file and says here where to.
 */
import { fileURLToPath } from "node:url";

let locate = (): string => fileURLToPath(new URL("../../assets/alloy-demo-q8_0.gguf", import.meta.url));

/** Path of the demo model's GGUF file. */
export function demoPath(): string {
  return locate();
}

/** Replace where the demo model is found; the function is called on first use of the model. */
export function setDemoLocation(find: () => string): void {
  let found: string | undefined;
  locate = () => (found ??= find());
}
