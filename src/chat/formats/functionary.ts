/**
 * MeetKai Functionary. 3.2: `>>>RECIPIENT\n` before each part; "all" is text, a tool's name is a call with JSON behind it. 3.1:
 * `<function=NAME>{...}</function>`.
 */
import type { MarkedFormat, MessageFormat } from "./format.ts";
import { jsonGrammar } from "./grammar.ts";
import { HeadedCall } from "./headed.ts";
import { SegmentParser, type SegmentSyntax } from "./segments.ts";

const MARKER = ">>>";
/** The prompt ends with the marker, so that the first header comes without. */
const bare = (header: string) => (header.startsWith(MARKER) ? header.slice(MARKER.length) : header);

const FUNCTIONARY: SegmentSyntax = {
  starts: [MARKER],
  body: "\n",
  ends: [],
  read(header, tools) {
    const name = bare(header);
    if (name === "all") return { kind: "text" };
    return tools.includes(name) ? { kind: "call", name } : undefined;
  },
  possible: (header, tools) => MARKER.startsWith(header) || ["all", ...tools].some((name) => `${name}\n`.startsWith(bare(header))),
  keepMarkers: true,
};

export const functionary: MessageFormat = {
  name: "functionary",
  matches: (template) => template.includes(">>>all"),
  openers: [">>>"],
  parser: (options) => new SegmentParser(FUNCTIONARY, options),
  grammar: jsonGrammar({
    messages: { resume: MARKER, answer: "all\n" },
    before: "",
    open: (name, index) => `${index === 0 ? "" : MARKER}${name}\n`,
    close: "",
    between: "",
    after: "",
  }),
};

/** Also what Llama 3.1 was taught for tools of one's own. */
export const functionary31: MarkedFormat = {
  name: "functionary-3.1",
  matches: (template) => template.includes("<function=") && template.includes("</function>"),
  openers: ["<function="],
  closers: ["</function>"],
  reader: (_opener, calls) => new HeadedCall(calls, /^\s*([^\s<>{]+)\s*>\s*$/),
  grammar: jsonGrammar({ before: "", open: (name) => `<function=${name}>`, close: "</function>", between: "", after: "" }),
};
