/** What Codex is told about a model: `model_catalog_json` of its configuration (fields as `codex debug models` prints them, 0.171). */
import type { Endpoint } from "./tools.ts";

/** In place of the instructions that Codex has for OpenAI's models, which are four thousand tokens long. */
const INSTRUCTIONS = `You are a coding agent. You work in the user's project on the user's machine, through the tools of the Codex CLI.

- Look before you change: list files, search with rg, read what matters. Do not guess what a file holds.
- Change files with apply_patch, in the style of the code around the change. Change what the task needs, and nothing else.
- A command has no terminal: no editors, no pagers, nothing that waits for input.
- When something was changed, run the project's own tests or checks, and look at what they say.
- Leave commits, pushes and the deletion of files that you did not make to the user, unless the user asked for them.
- Go on until the task is done or you are stuck. Then say in a few sentences what you did, what you checked, and what is left.

The text of a patch:

*** Begin Patch
*** Update File: src/greet.py
@@ def greet(name):
-    print("Hi")
+    print(f"Hi {name}")
*** Add File: notes.txt
+a new file's lines, each behind a plus
*** Delete File: old.txt
*** End Patch
`;

/** The catalogue as JSON, with this one model. Without it Codex warns, assumes a window of 272,000 tokens and offers no patch tool. */
export function codexModels({ model, context, vision, thinking }: Endpoint): string {
  const efforts = thinking ? ["low", "medium", "high"] : [];
  const entry = {
    slug: model,
    display_name: model,
    description: "A local model, served by Alloy",
    base_instructions: INSTRUCTIONS,
    context_window: context,
    input_modalities: vision ? ["text", "image"] : ["text"],
    shell_type: "unified_exec",
    apply_patch_tool_type: "freeform",
    supports_search_tool: true,
    experimental_supported_tools: [],
    supports_parallel_tool_calls: true,
    truncation_policy: { mode: "tokens", limit: Math.min(10_000, Math.floor(context / 8)) },
    supported_reasoning_levels: efforts.map((effort) => ({ effort, description: `Thinks with ${effort} effort` })),
    supports_reasoning_summaries: thinking,
    support_verbosity: false,
    visibility: "list",
    supported_in_api: true,
    priority: 0,
  };
  return JSON.stringify({ models: [entry] });
}
