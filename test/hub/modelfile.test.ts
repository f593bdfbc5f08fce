import { describe, expect, test } from "bun:test";
import { parseModelfile } from "../../src/hub/modelfile.ts";
import { AlloyError } from "../../src/support/errors.ts";

test("everything that a Modelfile may say", () => {
  const text = `# a comment
FROM llama3.2:1b
parameter temperature 0.7
PARAMETER num_ctx 4096
PARAMETER stop "<|end|>"
PARAMETER stop   User:
PARAMETER use_mmap true

SYSTEM """
You are a pirate.
# not a comment
"""
TEMPLATE """{{ .System }} {{ .Prompt }}"""
MESSAGE user hi there
MESSAGE Assistant """Ahoy!
Matey."""
LICENSE "MIT"
LICENSE """
Apache
2.0"""
RENDERER qwen3
`;
  expect(parseModelfile(text.replaceAll("\n", "\r\n"))).toEqual({
    from: "llama3.2:1b",
    parameters: { temperature: 0.7, num_ctx: 4096, stop: ["<|end|>", "User:"], use_mmap: true },
    system: "You are a pirate.\n# not a comment\n",
    template: "{{ .System }} {{ .Prompt }}",
    messages: [
      { role: "user", content: "hi there" },
      { role: "assistant", content: "Ahoy!\nMatey." },
    ],
    license: ["MIT", "Apache\n2.0"],
    adapters: [],
    config: { renderer: "qwen3" },
  });
});

describe("mistakes name the line", () => {
  test.each([
    ["", "the Modelfile has no FROM line"],
    ["FROM x\nSYTEM y", 'Modelfile line 2: "SYTEM" is no instruction'],
    ["FROM x\n\nPARAMETER temprature 1", 'Modelfile line 3: there is no parameter "temprature"'],
    ["FROM x\nPARAMETER top_k 1.5", 'Modelfile line 2: top_k must be a whole number, not "1.5"'],
    ["FROM x\nPARAMETER temperature hot", 'Modelfile line 2: temperature must be a number, not "hot"'],
    ["FROM x\nMESSAGE robot hi", "Modelfile line 2: MESSAGE needs a role"],
    ['FROM x\nSYSTEM """abc\ndef', 'Modelfile line 2: """ is not closed'],
  ])("%j", (text, message) => {
    expect(() => parseModelfile(text)).toThrow(message);
    expect(() => parseModelfile(text)).toThrow(AlloyError);
  });
});
