/** An engine with the fake model that dies of a prompt with "!throw", "!exit", "!segv" or "!kill" in it. */
import type { Engine } from "../../src/engine/api.ts";
import { EngineCore, type EngineOptions } from "../../src/engine/core.ts";
import { AlloyError } from "../../src/support/errors.ts";
import { fakeParts } from "./fakes.ts";

export async function fragileEngine(options: EngineOptions): Promise<Engine> {
  if (options.device === "none") throw new AlloyError("device_error", "there is no such device", { hint: "take another" });
  if (options.device === "crash") process.exit(7);
  const { parts } = fakeParts({
    stepMs: 1,
    onStep(sequences) {
      const text = sequences.map((s) => new TextDecoder().decode(Uint8Array.from(s.tokens))).join();
      if (text.includes("!throw")) {
        setTimeout(() => {
          throw new Error("a fault nobody expected");
        });
      }
      if (text.includes("!exit")) process.exit(3);
      if (text.includes("!segv")) process.kill(process.pid, "SIGSEGV");
      if (text.includes("!kill")) process.kill(process.pid, "SIGKILL");
    },
  });
  return EngineCore.create(parts, options);
}
