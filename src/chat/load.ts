/** A model's chat format: its template, what the template can show, and how its answers are read. */
import { isGoTemplate } from "../hub/template.ts";
import { AlloyError } from "../support/errors.ts";
import type { ChatFormat, ChatMessage, LoadChatFormat, OutputParser, RenderedPrompt, RenderOptions, ToolSpec } from "./api.ts";
import { builtinTemplate } from "./builtin.ts";
import type { ToolFormat } from "./formats/format.ts";
import { generic } from "./formats/generic.ts";
import type { CallGrammar } from "./formats/grammar.ts";
import { hermes } from "./formats/hermes.ts";
import { toolFormat } from "./formats/index.ts";
import { SchemaView } from "./formats/schema.ts";
import { compileGoTemplate, goThinkingSwitches, rendersGoTemplate } from "./go/template.ts";
import { type CompiledTemplate, compileTemplate, RENDER_LIMITS, type RenderLimits } from "./jinja.ts";
import { templateMessages, templateTools } from "./messages.ts";
import { outputParser } from "./parser.ts";
import { profileTemplate, type TemplateProfile, toolVariables } from "./profile.ts";
import { opensReasoning, type ReasoningMarkers, reasoningMarkers } from "./reasoning.ts";
import { thinkingSwitches, thinkingVariables } from "./thinking.ts";

/** Stands where a continued answer ends; no text contains it. */
const CONTINUED = "\ue000alloy-continued\ue001";

/**
 * Makes the chat format of a model, from a template in Jinja or in Go's language. Without one (or with one in Go's language that asks for
 * more than is known here) a built-in one is chosen by the vocabulary. Throws `template_error` for a template that does not parse.
 */
export const loadChatFormat: LoadChatFormat = ({ template, tokenizer, architecture, limits }) => {
  const named = typeof template === "string" ? { default: template } : (template ?? {});
  const main = named.default ?? Object.values(named)[0];
  const own = main !== undefined && main.trim() !== "" && (!isGoTemplate(main) || rendersGoTemplate(main));
  const builtin = own ? undefined : builtinTemplate(tokenizer, architecture);
  const variables = {
    bos_token: tokenizer.bos === undefined ? "" : tokenizer.piece(tokenizer.bos),
    eos_token: tokenizer.eos === undefined ? "" : tokenizer.piece(tokenizer.eos),
  };
  const isToken = (text: string) => tokenizer.id(text) !== undefined;
  const plain = new Dialogue(builtin?.template ?? (main as string), variables, limits);
  const withTools =
    own && named.tool_use !== undefined && named.tool_use !== main ? new Dialogue(named.tool_use, variables, limits) : plain;
  const known = toolFormat(withTools.source, isToken);
  // A template that lists no tools may still belong to a family that can be told of them, and whose answers have to be read its way.
  const calls = withTools.profile.tools || (own && known !== generic) ? known : hermes;
  const reasoning = calls.reasoning ?? reasoningMarkers(plain.source, isToken);
  return new TemplateFormat(plain, withTools, reasoning, calls, [...(builtin?.stops ?? []), ...(own ? (calls.stops ?? []) : [])]);
};

/** Some templates fail on schemas that they do not know (types in a list, null): those get the tools in fewer words. */
function withPlainerTools(tools: readonly ToolSpec[], render: (tools: readonly ToolSpec[]) => string): string {
  try {
    return render(tools);
  } catch (cause) {
    if (tools.length === 0) throw cause;
    try {
      return render(tools.map((t) => ({ ...t, parameters: SchemaView.of(t).plain() })));
    } catch {
      throw cause;
    }
  }
}

/** A template with what is known about it. */
class Dialogue {
  readonly compiled: CompiledTemplate;
  readonly profile: TemplateProfile;
  readonly switches: readonly string[];

  constructor(
    readonly source: string,
    readonly variables: Record<string, unknown>,
    limits: RenderLimits = RENDER_LIMITS,
  ) {
    const go = isGoTemplate(source);
    this.compiled = go ? compileGoTemplate(source, limits) : compileTemplate(source, limits);
    this.profile = profileTemplate(this.compiled, source, variables, limits.time);
    this.switches = go ? goThinkingSwitches(source) : thinkingSwitches(source);
  }
}

class TemplateFormat implements ChatFormat {
  readonly toolFormat: string;
  readonly capabilities: ChatFormat["capabilities"];
  readonly template: string;
  readonly grammar: CallGrammar;
  readonly callMarkers: readonly string[];

  constructor(
    private readonly plain: Dialogue,
    private readonly withTools: Dialogue,
    readonly reasoning: ReasoningMarkers | undefined,
    private readonly calls: ToolFormat,
    readonly stops: readonly string[],
  ) {
    this.template = plain.source;
    this.toolFormat = calls.name;
    this.grammar = calls.grammar;
    this.callMarkers = calls.openers;
    this.capabilities = {
      tools: withTools.profile.tools,
      thinking: reasoning !== undefined || plain.switches.length > 0,
      system: plain.profile.system,
    };
  }

  render(messages: ChatMessage[], options: RenderOptions = {}): RenderedPrompt {
    const { tools = [], thinking, addGenerationPrompt = true, extra = {} } = options;
    const { compiled, profile, source, switches, variables: own } = tools.length > 0 ? this.withTools : this.plain;
    const last = messages.at(-1);
    const continued = !addGenerationPrompt && last?.role === "assistant" ? last : undefined;
    const shown = continued ? [...messages.slice(0, -1), { ...continued, content: continued.content + CONTINUED }] : messages;
    const native = profile.tools ? tools : [];
    const foreign = profile.tools ? [] : tools;
    const variables = {
      ...own,
      ...thinkingVariables(source, switches, thinking),
      ...extra,
      messages: templateMessages(
        shown,
        foreign.length > 0 && this.calls === hermes ? { ...profile, callHistory: false, toolRole: false } : profile,
        this.calls,
        foreign,
      ),
      add_generation_prompt: addGenerationPrompt,
    };
    const text = withPlainerTools(native, (listed) => compiled.render({ ...toolVariables(source, templateTools(listed)), ...variables }));
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
    return outputParser({ tools, format: this.calls, reasoning: this.reasoning, startsInReasoning });
  }
}
