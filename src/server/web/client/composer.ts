/** Where the user writes. */
import { byId, fit } from "./dom.ts";

export interface ComposerActions {
  /** False: not now, keep the text. */
  send(text: string): boolean;
  stop(): void;
  editLast(): void;
}

export class Composer {
  readonly #area = byId<HTMLTextAreaElement>("message");
  readonly #send = byId<HTMLButtonElement>("send");
  readonly #stop = byId<HTMLButtonElement>("stop");

  constructor(private readonly actions: ComposerActions) {
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.#stop.addEventListener("click", () => this.actions.stop());
    this.#area.addEventListener("input", () => this.#changed());
    this.#area.addEventListener("keydown", (event) => {
      // While a word is being composed (Japanese, Chinese, Korean …), Enter belongs to the input method.
      if (event.isComposing) return;
      if (event.key === "Enter" && !event.shiftKey) {
        event.preventDefault();
        this.submit();
      } else if (event.key === "ArrowUp" && this.#area.value === "") {
        event.preventDefault();
        this.actions.editLast();
      }
    });
    this.#changed();
    this.focus();
  }

  focus(): void {
    this.#area.focus();
  }

  fill(text: string): void {
    this.#area.value = text;
    this.#changed();
    this.focus();
  }

  /** Shows the button that stops instead of the one that sends. */
  running(running: boolean): void {
    const held = document.activeElement === this.#stop || document.activeElement === this.#send;
    this.#stop.hidden = !running;
    this.#send.hidden = running;
    if (held) this.focus();
  }

  /** Sends what is written, if it can be sent now. */
  submit(): void {
    const text = this.#area.value.trim();
    if (text === "" || !this.actions.send(text)) return;
    this.fill("");
  }

  #changed(): void {
    this.#send.disabled = this.#area.value.trim() === "";
    fit(this.#area);
  }
}
