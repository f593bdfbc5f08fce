/** The list of conversations: beside the page, or a drawer over it on a narrow screen. */
import { byId, h, iconButton } from "./dom.ts";
import type { Conversation } from "./types.ts";

export interface SidebarActions {
  open(id: string): void;
  remove(id: string): void;
  create(): void;
}

export class Sidebar {
  readonly #aside = byId("sidebar");
  readonly #list = byId("conversations");
  readonly #menu = byId("menu");
  readonly #backdrop = byId("backdrop");
  readonly #narrow = matchMedia("(max-width: 47.5rem)");

  constructor(private readonly actions: SidebarActions) {
    byId("new").addEventListener("click", () => {
      this.actions.create();
      this.toggle(false);
    });
    this.#menu.addEventListener("click", () => this.toggle(!this.#open));
    this.#backdrop.addEventListener("click", () => this.toggle(false));
    this.#aside.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.#narrow.matches) return;
      event.stopPropagation();
      this.toggle(false);
      this.#menu.focus();
    });
    this.#narrow.addEventListener("change", () => this.toggle(false));
    this.toggle(false);
  }

  get #open(): boolean {
    return this.#aside.classList.contains("open");
  }

  /** Opens or closes the drawer. A closed one cannot be reached by keyboard either. */
  toggle(open: boolean): void {
    this.#aside.classList.toggle("open", open);
    this.#aside.inert = this.#narrow.matches && !open;
    this.#backdrop.hidden = !(this.#narrow.matches && open);
    this.#menu.setAttribute("aria-expanded", String(open));
    if (open) byId("new").focus();
  }

  /** Conversations with at least one turn, newest first. `busy` ones are being answered. */
  show(conversations: Conversation[], current: string, busy: (id: string) => boolean): void {
    const held = document.activeElement?.closest("li")?.dataset.id;
    const items = conversations.map(({ id, title }) => {
      const open = h(
        "button",
        {
          type: "button",
          class: "conversation",
          "aria-current": id === current ? "true" : undefined,
          title,
          click: () => {
            this.actions.open(id);
            this.toggle(false);
          },
        },
        title || "Untitled",
      );
      const remove = iconButton("trash", `Delete “${title}”`, () => this.actions.remove(id));
      return h("li", { "data-id": id, class: busy(id) ? "busy" : undefined }, open, remove);
    });
    this.#list.replaceChildren(...items);
    if (held !== undefined)
      items
        .find((i) => i.dataset.id === held)
        ?.querySelector("button")
        ?.focus();
  }
}
