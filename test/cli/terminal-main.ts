/** `alloy` on the real terminal with a scripted model behind it, for terminal.test.ts. Words come 50 ms apart. */
import { processIo } from "../../src/cli/process-io.ts";
import { runProgram } from "../../src/cli/program.ts";
import { ScriptedEngine, scriptedModel } from "../server/scripted-engine.ts";
import { fakeDeps } from "./fakes.ts";

const engine = new ScriptedEngine({
  models: [scriptedModel("demo")],
  delayMs: 50,
  script: (request) => {
    const said = request.prompt.kind === "chat" ? request.prompt.messages.at(-1)!.content : "";
    const words = said === "count" ? Array.from({ length: 200 }, (_, i) => `n${i}`).join(" ") : `You said: ${said}.`;
    return [
      { type: "reasoning", text: "Let me see." },
      { type: "text", text: words },
    ];
  },
});
process.exit(await runProgram(process.argv.slice(2), processIo(), fakeDeps({ createEngine: async () => engine })));
