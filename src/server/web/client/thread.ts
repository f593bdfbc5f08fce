/** The middle of the page: the turns of the conversation that is shown, and where it is scrolled to. */
import { byId, h } from "./dom.ts";
import { AssistantView, type TurnActions, type TurnView, UserView } from "./turns.ts";
import type { Conversation, Turn } from "./types.ts";

const SUGGESTIONS = [
  "Explain how a transformer predicts the next word",
  "Write a haiku about copper and tin",
  "Plan a weekend in Lisbon, as a table",
];

/** Pixels from the end within which the page follows a growing answer. */
const NEAR = 80;

export class Thread {
  readonly #scroller = byId("scroller");
  readonly #list = byId("turns");
  readonly #latest = byId<HTMLButtonElement>("latest");
  #views: { turn: Turn; view: TurnView }[] = [];
  #following = true;
  #frame = 0;

  constructor(
    private readonly actions: (turn: Turn) => TurnActions,
    private readonly suggest: (text: string) => void,
  ) {
    this.#scroller.addEventListener("scroll", () => {
      this.#following = this.#distance() < NEAR;
      this.#latest.hidden = this.#following;
    });
    this.#latest.addEventListener("click", () => this.follow());
  }

  /** Shows a conversation: views of turns that are there already stay. */
  show(conversation: Conversation): void {
    const { turns } = conversation;
    let same = 0;
    while (same < turns.length && this.#views[same]?.turn === turns[same]) same++;
    for (const { view } of this.#views.splice(same)) view.element.remove();
    if (same === 0) this.#list.replaceChildren();
    for (const turn of turns.slice(same)) {
      const actions = this.actions(turn);
      const view = turn.role === "user" ? new UserView(turn, actions) : new AssistantView(turn, actions);
      this.#views.push({ turn, view });
      this.#list.append(view.element);
    }
    for (const { turn, view } of this.#views.slice(0, same)) if (turn.role === "assistant") view.update();
    if (turns.length === 0) this.#list.append(this.#welcome());
    this.follow();
  }

  /** A turn changed: shown with the next frame, however many changes there are until then. */
  changed(turn: Turn): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => {
      this.#views.find((v) => v.turn === turn)?.view.update();
      if (this.#following) this.#toEnd();
    });
  }

  /** Opens the last message of the user for editing. */
  editLast(): void {
    const last = this.#views.findLast(({ view }) => view instanceof UserView);
    if (last?.view instanceof UserView) last.view.edit();
  }

  follow(): void {
    this.#following = true;
    this.#latest.hidden = true;
    this.#toEnd();
  }

  #toEnd(): void {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  #distance(): number {
    return this.#scroller.scrollHeight - this.#scroller.scrollTop - this.#scroller.clientHeight;
  }

  #welcome(): HTMLElement {
    const buttons = SUGGESTIONS.map((text) => h("button", { type: "button", click: () => this.suggest(text) }, text));
    return h(
      "div",
      { class: "welcome" },
      h("span", { class: "mark", "aria-hidden": "true" }),
      h("h2", {}, "What would you like to know?"),
      h("p", {}, "The model runs on the machine that serves this page. Nothing you write goes anywhere else."),
      h("div", { class: "suggestions" }, ...buttons),
    );
  }
}
