/** What a chat template can show, found by rendering small conversations and looking for their words in the outcome. */
import { type CompiledTemplate, PROBE_LIMITS } from "./jinja.ts";

export interface TemplateProfile {
  /** Shows a system message at the head. */
  system: boolean;
  /** Shows later system messages, in their place. */
  lateSystem: boolean;
  /** Lists the tools. */
  tools: boolean;
  /** Shows the calls of earlier turns. */
  callHistory: boolean;
  /** Shows messages of role "tool". */
  toolRole: boolean;
  /** Several calls in one message. */
  parallelCalls: boolean;
  /** Calls are shown only in messages without text. */
  textApart: boolean;
  /** Wants arguments as an object instead of as JSON text. */
  objectArguments: boolean;
  /** Content of an assistant message that has calls and no text. */
  emptyContent: "" | null;
  /** Wants content as a list of parts. */
  typedContent: boolean;
  /** Insists on user and assistant taking turns. */
  alternate: boolean;
  /** Insists on call ids of nine letters and digits. */
  shortIds: boolean;
  /** Name under which it takes an earlier turn's reasoning. */
  reasoningField?: string;
  /** Wants results beside the calls that they answer, instead of as messages (Gemma 4). */
  resultsInCalls: boolean;
  /** Refuses reasoning beside text in a message with calls. */
  reasoningAlone: boolean;
}

const TOOL = {
  type: "function",
  function: {
    name: "probe_tool",
    description: "A tool.",
    parameters: { type: "object", properties: { probe_key: { type: "string", description: "A key." } }, required: ["probe_key"] },
  },
};
const ARGUMENTS = { probe_key: "probe_value" };
/** As Python's json.dumps writes it, and so `tojson`. */
const JSON_ARGUMENTS = '{"probe_key": "probe_value"}';
const SECOND = { probe_key: "other_value" };

/** Milliseconds for all probes together; they take about ten. */
const MAX_PROBING = 1000;

type Message = Record<string, unknown>;

/** The variables in which a template takes tools; without tools those that it needs all the same. */
export function toolVariables(source: string, tools: unknown[]): Record<string, unknown> {
  // FireFunction: a JSON text, written also when there are none.
  if (source.includes("functions") && !/\btools\b/.test(source))
    return { functions: JSON.stringify(tools), datetime: new Date().toDateString() };
  if (tools.length === 0) return {};
  return source.includes("xml_tools") ? { tools, xml_tools: tools } : { tools };
}

/** `variables` are those that every rendering gets (bos_token and the like). @param time for all of it, milliseconds */
export function profileTemplate(
  template: CompiledTemplate,
  source: string,
  variables: Record<string, unknown>,
  time = MAX_PROBING,
): TemplateProfile {
  const deadline = performance.now() + Math.min(time, MAX_PROBING);
  const render = (messages: Message[], extra: Record<string, unknown> = {}): string => {
    if (performance.now() > deadline) return "";
    try {
      return template.render({ ...variables, ...toolVariables(source, []), messages, add_generation_prompt: true, ...extra }, PROBE_LIMITS);
    } catch {
      // A template that refuses a conversation does not show it.
      return "";
    }
  };
  const inOrder = (text: string, ...words: string[]) => {
    let at = 0;
    for (const w of words) {
      at = text.indexOf(w, at);
      if (at < 0) return false;
      at += w.length;
    }
    return true;
  };
  const typedContent =
    !render([{ role: "user", content: "U1-" }]).includes("U1-") &&
    render([{ role: "user", content: [{ type: "text", text: "U1-" }] }]).includes("U1-");
  const say = (role: string, text: string): Message => ({ role, content: typedContent ? [{ type: "text", text }] : text });

  const shortIds = /length\s*[!=]=\s*9/.test(source);
  const id = (n: number) => `probe000${n}`;
  const call = (n: number, args: unknown) => ({ id: id(n), type: "function", function: { name: "probe_tool", arguments: args } });
  const result = (n: number): Message => ({ role: "tool", content: `R${n}-`, tool_call_id: id(n), name: "probe_tool" });
  const withCalls = (content: unknown, ...args: unknown[]) =>
    render(
      [
        say("user", "U1-"),
        { role: "assistant", content, tool_calls: args.map((a, i) => call(i + 1, a)) },
        ...args.map((_, i) => result(i + 1)),
      ],
      {
        tools: [TOOL],
      },
    );
  const shown = (text: string) => inOrder(text, "probe_tool", "probe_value") && !/\\"probe_key|'probe_key':/.test(afterTools(text));
  /** Calls come after the user's words. */
  const afterTools = (text: string) => text.slice(Math.max(0, text.lastIndexOf("U1-")));

  const asObject = withCalls("", ARGUMENTS) || withCalls(null, ARGUMENTS);
  const asText = withCalls("", JSON_ARGUMENTS) || withCalls(null, JSON_ARGUMENTS);
  const forms: [object: boolean, empty: "" | null][] = [
    [true, ""],
    [true, null],
    [false, ""],
    [false, null],
  ];
  // Text keeps the model's own spelling; it will do where the template treats both alike.
  if (asObject === asText) forms.reverse();
  const form = ["", null]
    .flatMap((empty) => forms.filter((f) => f[1] === empty))
    .find(([object, empty]) => shown(withCalls(empty, object ? ARGUMENTS : JSON_ARGUMENTS)));
  const [objectArguments, emptyContent] = form ?? [false, ""];
  const args = (v: object) => (objectArguments ? v : JSON.stringify(v));
  const callHistory = form !== undefined;
  const beside = withCalls(typedContent ? [{ type: "text", text: "A1-" }] : "A1-", args(ARGUMENTS));

  return {
    system: inOrder(render([say("system", "S1-"), say("user", "U1-")]), "S1-", "U1-"),
    lateSystem: inOrder(
      render([say("system", "S1-"), say("user", "U1-"), say("system", "S2-"), say("assistant", "A1-"), say("user", "U2-")]),
      "S1-",
      "U1-",
      "S2-",
      "A1-",
      "U2-",
    ),
    tools: render([say("user", "U1-")], toolVariables(source, [TOOL])).includes("probe_tool"),
    callHistory,
    toolRole: (callHistory
      ? withCalls(emptyContent, args(ARGUMENTS))
      : render([say("user", "U1-"), say("assistant", "A1-"), result(1)])
    ).includes("R1-"),
    parallelCalls: inOrder(withCalls(emptyContent, args(ARGUMENTS), args(SECOND)), "probe_value", "other_value", "R1-", "R2-"),
    textApart: callHistory && beside !== "" && !beside.includes("probe_value"),
    objectArguments,
    emptyContent,
    typedContent,
    alternate: !inOrder(render([say("user", "U1-"), say("user", "U2-")]), "U1-", "U2-"),
    shortIds,
    reasoningField: ["reasoning_content", "reasoning", "thinking"].find((f) =>
      new RegExp(`(\\.|\\[['"]|get\\(['"])${f}\\b(?!\\()`).test(source),
    ),
    resultsInCalls: source.includes("tool_responses") && !source.includes("tool_call_id"),
    reasoningAlone: source.includes("Cannot pass both content and thinking"),
  };
}
