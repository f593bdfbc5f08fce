/** A worker with the fake model that dies of a prompt that begins with "!throw" or "!exit", and is slow on "!slow". */
import { EngineCore } from "../../src/engine/core.ts";
import { hostEngine } from "../../src/engine/host.ts";
import { AlloyError } from "../../src/support/errors.ts";
import { fakeParts } from "./fakes.ts";

hostEngine((options) => {
  if (options.device === "none") return Promise.reject(new AlloyError("device_error", "there is no such device", { hint: "take another" }));
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
    },
  });
  return EngineCore.create(parts, options);
});
