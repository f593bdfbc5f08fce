/** How one turn looks: the user's bubble, or the model's answer with its thinking and calls. */
import { copyButton, fit, h, icon, iconButton } from "./dom.ts";
import { MarkdownView } from "./markdown.ts";
import { type AssistantTurn, type Call, openCalls, type UserTurn } from "./types.ts";

/** What the buttons of a turn do. */
export interface TurnActions {
  /** Ask again, from the message that this answer answers. */
  retry(): void;
  /** The message is another one now: what followed it goes, and it is asked. */
  edit(text: string): void;
  /** Results of all open calls are in the turn: go on. */
  resume(): void;
}

export interface TurnView {
  readonly element: HTMLElement;
  /** Shows the turn as it is now. */
  update(): void;
}

export class UserView implements TurnView {
  readonly element = h("article", { class: "turn user", "aria-label": "You" });

  constructor(
    private readonly turn: UserTurn,
    private readonly actions: TurnActions,
  ) {
    this.update();
  }

  update(): void {
    const actions = h(
      "div",
      { class: "actions" },
      copyButton("Copy message", () => this.turn.text),
      iconButton("edit", "Edit message", () => this.edit()),
    );
    this.element.replaceChildren(h("div", { class: "bubble" }, this.turn.text), actions);
  }

  /** The bubble becomes a field. */
  edit(): void {
    const area = h("textarea", { "aria-label": "Edit message", input: () => fit(area) });
    area.value = this.turn.text;
    const close = () => {
      this.update();
      this.element.querySelector<HTMLElement>('[aria-label="Edit message"]')?.focus();
    };
    const send = () => {
      if (area.value.trim() !== "") this.actions.edit(area.value.trim());
    };
    area.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.stopPropagation();
        close();
      } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        send();
      }
    });
    const buttons = h(
      "div",
      { class: "edit-buttons" },
      h("button", { type: "button", class: "plain", click: close }, "Cancel"),
      h("button", { type: "button", class: "primary", click: send }, "Send"),
    );
    this.element.replaceChildren(h("div", { class: "editing" }, area, buttons));
    fit(area);
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  }
}

export class AssistantView implements TurnView {
  readonly element: HTMLElement;
  readonly #thoughts = new MarkdownView();
  readonly #text = new MarkdownView();
  readonly #thinking: HTMLDetailsElement;
  readonly #thinkingLabel = h("span");
  readonly #calls = h("div", { class: "calls" });
  readonly #callViews: CallView[] = [];
  readonly #waiting = h("div", { class: "waiting", "aria-hidden": "true" }, h("i"), h("i"), h("i"));
  readonly #notice = h("p", { class: "notice" });
  readonly #results = h("div");
  readonly #meta = h("span", { class: "meta" });
  readonly #actions: HTMLElement;

  constructor(
    private readonly turn: AssistantTurn,
    private readonly actions: TurnActions,
  ) {
    this.#thinking = h(
      "details",
      { class: "fold thinking" },
      h("summary", {}, icon("thought"), this.#thinkingLabel),
      this.#thoughts.element,
    );
    this.#actions = h(
      "div",
      { class: "actions" },
      copyButton("Copy answer", () => this.turn.text),
      iconButton("retry", "Try again", () => this.actions.retry()),
    );
    this.element = h(
      "article",
      { class: "turn assistant", "aria-label": `Answer by ${turn.model}` },
      this.#thinking,
      this.#text.element,
      this.#calls,
      this.#results,
      this.#waiting,
      this.#notice,
      h("footer", {}, this.#actions, this.#meta),
    );
    this.update();
  }

  update(): void {
    const { turn } = this;
    const streaming = turn.state === "streaming";
    this.element.setAttribute("aria-busy", String(streaming));
    this.#thinking.hidden = turn.reasoning === "";
    this.#thinkingLabel.textContent = thinkingLabel(turn);
    this.#thinking.classList.toggle("active", streaming && turn.reasoningMs === undefined);
    this.#thoughts.update(turn.reasoning);
    this.#text.update(turn.text);
    this.#text.element.classList.toggle("growing", streaming && turn.text !== "" && turn.calls.length === 0);
    this.#updateCalls();
    this.#waiting.hidden = !streaming || turn.text !== "" || turn.reasoning !== "" || turn.calls.length > 0;
    this.#actions.hidden = streaming;
    const notice = noticeOf(turn);
    this.#notice.hidden = notice === "";
    this.#notice.classList.toggle("error", turn.state === "failed");
    this.#notice.textContent = notice;
    this.#meta.textContent = metaOf(turn);
  }

  #updateCalls(): void {
    for (const [i, call] of this.turn.calls.entries()) {
      if (call === undefined) continue;
      if (this.#callViews[i] === undefined) {
        this.#callViews[i] = new CallView();
        this.#calls.append(this.#callViews[i].element);
      }
      this.#callViews[i].update(call);
    }
    const open = openCalls(this.turn);
    if (open.length === 0) this.#results.replaceChildren();
    else if (this.#results.childElementCount === 0) this.#results.append(resultsForm(open, () => this.actions.resume()));
  }
}

/** A call, folded: its name, and inside its arguments and result. */
class CallView {
  readonly #name = h("span", { class: "call-name" });
  readonly #preview = h("span", { class: "preview" });
  readonly #arguments = h("pre", { tabindex: "0", "aria-label": "Arguments" });
  readonly #result = h("pre", { tabindex: "0", "aria-label": "Result" });
  readonly element = h(
    "details",
    { class: "fold call" },
    h("summary", {}, icon("tool"), this.#name, this.#preview),
    this.#arguments,
    this.#result,
  );

  update(call: Call): void {
    this.#name.textContent = call.name;
    this.#preview.textContent = call.arguments;
    this.#arguments.textContent = pretty(call.arguments);
    this.#result.hidden = call.result === undefined;
    this.#result.textContent = `→ ${call.result ?? ""}`;
  }
}

/** The page runs no tools: whoever sits before it answers in their place. */
function resultsForm(calls: Call[], resume: () => void): HTMLFormElement {
  const fields = calls.map((call) => ({ call, area: h("textarea", { rows: "2", placeholder: "What the tool returns" }) }));
  const form = h(
    "form",
    { class: "results" },
    ...fields.map(({ call, area }) => h("label", {}, `Result of ${call.name}`, area)),
    h("button", { type: "submit", class: "primary" }, "Send results"),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    for (const { call, area } of fields) call.result = area.value;
    resume();
  });
  return form;
}

function pretty(json: string): string {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;
  }
}

function thinkingLabel(turn: AssistantTurn): string {
  if (turn.reasoningMs === undefined) return turn.state === "streaming" ? "Thinking…" : "Thoughts";
  return turn.reasoningMs < 950 ? "Thought for a moment" : `Thought for ${Math.round(turn.reasoningMs / 1000)} s`;
}

function noticeOf(turn: AssistantTurn): string {
  if (turn.state === "failed") return turn.error ?? "The answer failed.";
  if (turn.state === "stopped") return "Stopped.";
  if (turn.state === "length") return "Cut off at the token limit.";
  if (turn.state === "done" && turn.text === "" && turn.calls.length === 0) return "The model answered with nothing.";
  return "";
}

function metaOf({ model, stats }: AssistantTurn): string {
  if (!stats) return model;
  const rate = stats.tokensPerSecond;
  const parts = [model, `${stats.tokens.toLocaleString("en")} token${stats.tokens === 1 ? "" : "s"}`];
  // The rate of a handful of tokens says nothing.
  if (rate > 0 && stats.tokens >= 5) parts.push(`${rate < 10 ? rate.toFixed(1) : Math.round(rate)} tok/s`);
  if (stats.promptTokens > 0) {
    parts.push(
      `prompt ${stats.promptTokens.toLocaleString("en")}${stats.cachedTokens > 0 ? ` (${stats.cachedTokens.toLocaleString("en")} cached)` : ""}`,
    );
  }
  return parts.join(" · ");
}
