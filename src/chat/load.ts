/** A model's chat format: its template, what the template can show, and how its answers are read. */
import { isGoTemplate } from "../hub/template.ts";
import { AlloyError } from "../support/errors.ts";
import type { ChatFormat, ChatMessage, LoadChatFormat, OutputParser, RenderedPrompt, RenderOptions, ToolSpec } from "./api.ts";
import { builtinTemplate } from "./builtin.ts";
import { hermes } from "./formats/hermes.ts";
import type { ToolFormat } from "./formats/format.ts";
import { toolFormat } from "./formats/index.ts";
import { type CompiledTemplate, compileTemplate } from "./jinja.ts";
import { templateMessages, templateTools } from "./messages.ts";
import { TurnParser } from "./parser.ts";
import { profileTemplate, type TemplateProfile, toolVariables } from "./profile.ts";
import { opensReasoning, type ReasoningMarkers, reasoningMarkers } from "./reasoning.ts";
import { thinkingSwitches, thinkingVariables } from "./thinking.ts";

/** Stands where a continued answer ends; no text contains it. */
const CONTINUED = "\ue000alloy-continued\ue001";

/**
 * Makes the chat format of a model. Without a template (or with one in Go syntax) a built-in one is chosen by the
 * vocabulary. Throws `template_error` for a template that does not parse.
 */
export const loadChatFormat: LoadChatFormat = ({ template, tokenizer, architecture }) => {
  const named = typeof template === "string" ? { default: template } : (template ?? {});
  const main = named.default ?? Object.values(named)[0];
  const own = main !== undefined && main.trim() !== "" && !isGoTemplate(main);
  const builtin = own ? undefined : builtinTemplate(tokenizer, architecture);
  const variables = {
    bos_token: tokenizer.bos === undefined ? "" : tokenizer.piece(tokenizer.bos),
    eos_token: tokenizer.eos === undefined ? "" : tokenizer.piece(tokenizer.eos),
  };
  const isToken = (text: string) => tokenizer.id(text) !== undefined;
  const plain = new Dialogue(builtin?.template ?? (main as string), variables);
  const withTools = own && named.tool_use !== undefined && named.tool_use !== main ? new Dialogue(named.tool_use, variables) : plain;
  return new TemplateFormat(plain, withTools, reasoningMarkers(plain.source, isToken), builtin?.stops ?? []);
};

/** A template with what is known about it. */
class Dialogue {
  readonly compiled: CompiledTemplate;
  readonly profile: TemplateProfile;
  readonly switches: readonly string[];

  constructor(
    readonly source: string,
    readonly variables: Record<string, unknown>,
  ) {
    this.compiled = compileTemplate(source);
    this.profile = profileTemplate(this.compiled, source, variables);
    this.switches = thinkingSwitches(source);
  }
}

class TemplateFormat implements ChatFormat {
  readonly toolFormat: string;
  readonly capabilities: ChatFormat["capabilities"];
  readonly template: string;
  private readonly calls: ToolFormat;

  constructor(
    private readonly plain: Dialogue,
    private readonly withTools: Dialogue,
    private readonly reasoning: ReasoningMarkers | undefined,
    readonly stops: readonly string[],
  ) {
    this.template = plain.source;
    this.calls = withTools.profile.tools ? toolFormat(withTools.source) : hermes;
    this.toolFormat = this.calls.name;
    this.capabilities = {
      tools: withTools.profile.tools,
      thinking: reasoning !== undefined || plain.switches.length > 0,
      system: plain.profile.system,
    };
  }

  render(messages: ChatMessage[], options: RenderOptions = {}): RenderedPrompt {
    const { tools = [], thinking, addGenerationPrompt = true, extra = {} } = options;
    const { compiled, profile, source, switches, variables } = tools.length > 0 ? this.withTools : this.plain;
    const last = messages.at(-1);
    const continued = !addGenerationPrompt && last?.role === "assistant" ? last : undefined;
    const shown = continued ? [...messages.slice(0, -1), { ...continued, content: continued.content + CONTINUED }] : messages;
    const native = profile.tools ? templateTools(tools) : [];
    const text = compiled.render({
      ...variables,
      ...(native.length > 0 ? toolVariables(source, native) : {}),
      ...(source.includes("functions") && !/\btools\b/.test(source)
        ? { functions: JSON.stringify(templateTools(tools)), datetime: new Date().toDateString() }
        : {}),
      ...thinkingVariables(source, switches, thinking),
      ...extra,
      messages:
        profile.tools || tools.length === 0
          ? templateMessages(shown, profile, this.calls)
          : templateMessages(shown, { ...profile, callHistory: false, toolRole: false }, this.calls, tools),
      add_generation_prompt: addGenerationPrompt,
    });
    if (continued) return this.continuation(text, continued);
    if (!opensReasoning(text, this.reasoning)) return { text, startsInReasoning: false };
    // A template that always opens reasoning has no switch for it; closing it at once is the switch.
    if (thinking === "off" && this.reasoning) return { text: `${text.trimEnd()}\n\n${this.reasoning.close}\n\n`, startsInReasoning: false };
    return { text, startsInReasoning: true };
  }

  private continuation(text: string, message: ChatMessage): RenderedPrompt {
    const at = text.lastIndexOf(CONTINUED);
    if (at < 0) {
      throw new AlloyError("template_error", "The chat template does not show the assistant's last message, so it cannot be continued.", {
        hint: "End the conversation with a user message.",
      });
    }
    const prompt = text.slice(0, at);
    const startsInReasoning =
      opensReasoning(message.content, this.reasoning, true) || (message.content === "" && opensReasoning(prompt, this.reasoning));
    return { text: prompt, startsInReasoning };
  }

  parser({ tools, startsInReasoning }: { tools: ToolSpec[]; startsInReasoning: boolean }): OutputParser {
    return new TurnParser({ tools, format: this.calls, reasoning: this.reasoning, startsInReasoning });
  }
}
