/** The chat page: what is shown, what is kept, and who is being answered. */
import { newAnswer, writeAnswer } from "./answer.ts";
import { ApiError, listModels } from "./api.ts";
import { Composer } from "./composer.ts";
import { announce, byId, h } from "./dom.ts";
import { requestBody } from "./messages.ts";
import { askForKey, editSettings } from "./settings.ts";
import { Sidebar } from "./sidebar.ts";
import { openStore, type Store } from "./store.ts";
import { startTheme } from "./theme.ts";
import { Thread } from "./thread.ts";
import type { TurnActions } from "./turns.ts";
import { type Conversation, newConversation, titleOf, type Turn } from "./types.ts";

/** Milliseconds between two saves of an answer that grows. */
const SAVE_EVERY = 500;

interface Running {
  controller: AbortController;
  ended: Promise<void>;
}

class App {
  #conversations: Conversation[] = [];
  #current = newConversation();
  /** The tab is closing or loading another page. */
  #leaving = false;
  /** While conversations and the list of models are on their way. */
  #loading: Promise<void> | undefined;
  #store!: Store;
  readonly #running = new Map<string, Running>();
  readonly #saving = new Map<string, ReturnType<typeof setTimeout>>();
  readonly #models = byId<HTMLSelectElement>("model");
  readonly #composer = new Composer({
    send: (text) => this.send(text),
    stop: () => void this.#stop(),
    editLast: () => this.#thread.editLast(),
  });
  readonly #thread = new Thread(
    (turn) => this.#turnActions(turn),
    (text) => this.#composer.fill(text),
  );
  readonly #sidebar = new Sidebar({
    open: (id) => this.#open(this.#conversations.find((c) => c.id === id) ?? this.#current),
    remove: (id) => void this.#remove(id),
    create: () => this.#create(),
  });

  /** What the user writes while the page is starting is sent when it has started. */
  start(): Promise<void> {
    return this.#load(this.#begin());
  }

  async #begin(): Promise<void> {
    this.#store = await openStore();
    this.#conversations = await this.#store.all();
    for (const { turns } of this.#conversations) {
      for (const turn of turns) if (turn.role === "assistant" && turn.state === "streaming") turn.state = "stopped";
    }
    const wanted = this.#conversations.find((c) => `#${c.id}` === location.hash);
    this.#open(wanted ?? newConversation(this.#conversations[0]?.settings));
    byId("kept").textContent = this.#store.lasting ? "Kept in this browser only" : "This browser keeps nothing: all ends with this tab";
    this.#listen();
    await this.#fetchModels();
  }

  /** Sends a message of the user; false when that is not possible now. */
  send(text: string): boolean {
    if (this.#running.has(this.#current.id)) return false;
    if (this.#current.settings.model === "") {
      // Faster than the start or the list of models: sent when that is there.
      void this.#loading?.then(() => this.#composer.submit());
      return false;
    }
    this.#current.turns.push({ role: "user", text });
    void this.#ask(this.#current);
    return true;
  }

  /** Lets the model answer what stands there. */
  async #ask(conversation: Conversation): Promise<void> {
    const { id, turns, settings } = conversation;
    const answer = newAnswer(settings.model);
    turns.push(answer);
    conversation.title = titleOf(turns);
    conversation.updated = Date.now();
    this.#conversations = [conversation, ...this.#conversations.filter((c) => c !== conversation)];
    const controller = new AbortController();
    const changed = () => {
      if (conversation === this.#current) this.#thread.changed(answer);
      this.#save(conversation);
    };
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    this.#running.set(id, { controller, ended });
    this.#save(conversation, true);
    if (conversation === this.#current) this.#open(conversation);
    let failure: unknown;
    try {
      failure = await writeAnswer(answer, requestBody(conversation), controller.signal, changed);
    } catch (error) {
      answer.state = "failed";
      answer.error = (error as Error).message;
      changed();
    }
    this.#running.delete(id);
    end();
    this.#save(conversation, true);
    if (conversation === this.#current) this.#composer.running(false);
    this.#showList();
    announce(
      answer.state === "failed" ? `The answer failed: ${answer.error}` : answer.state === "stopped" ? "Stopped" : "The answer is complete",
    );
    if (failure instanceof ApiError && failure.status === 401) askForKey(() => void this.#loadModels());
  }

  async #stop(conversation = this.#current): Promise<void> {
    const running = this.#running.get(conversation.id);
    running?.controller.abort();
    await running?.ended;
  }

  #turnActions(turn: Turn): TurnActions {
    const conversation = this.#current;
    /** Everything from this turn on makes room for `turns`, and is asked again. */
    const again = async (...turns: Turn[]) => {
      await this.#stop(conversation);
      const at = conversation.turns.indexOf(turn);
      if (at < 0) return;
      conversation.turns.splice(at, Infinity, ...turns);
      await this.#ask(conversation);
    };
    return {
      retry: () => void again(),
      edit: (text) => void again({ role: "user", text }),
      resume: () => void this.#ask(conversation),
    };
  }

  #open(conversation: Conversation): void {
    this.#current = conversation;
    history.replaceState(null, "", conversation.turns.length > 0 ? `#${conversation.id}` : location.pathname);
    document.title = conversation.title === "" ? "Alloy" : `${conversation.title} · Alloy`;
    this.#thread.show(conversation);
    this.#showModel();
    this.#showList();
    this.#composer.running(this.#running.has(conversation.id));
  }

  #create(): void {
    if (this.#current.turns.length > 0) this.#open(newConversation(this.#current.settings));
    this.#composer.focus();
  }

  async #remove(id: string): Promise<void> {
    const conversation = this.#conversations.find((c) => c.id === id);
    if (conversation === undefined) return;
    await this.#stop(conversation);
    clearTimeout(this.#saving.get(id));
    this.#saving.delete(id);
    this.#conversations = this.#conversations.filter((c) => c.id !== id);
    await this.#store.remove(id);
    if (conversation === this.#current) this.#open(newConversation(conversation.settings));
    else this.#showList();
    this.#toast(`“${conversation.title}” is deleted`, "Undo", () => {
      this.#conversations = [conversation, ...this.#conversations].toSorted((a, b) => b.updated - a.updated);
      this.#save(conversation, true);
      this.#open(conversation);
    });
    byId("new").focus();
  }

  #loadModels(): Promise<void> {
    return this.#load(this.#fetchModels());
  }

  #load(work: Promise<void>): Promise<void> {
    this.#loading = work.finally(() => (this.#loading = undefined));
    return this.#loading;
  }

  async #fetchModels(): Promise<void> {
    try {
      const models = await listModels();
      this.#models.replaceChildren(...models.map((m) => h("option", { value: m.id }, m.id)));
      this.#banner(models.length > 0 ? "" : "There is no model here yet. In a terminal: alloy pull qwen3:4b");
    } catch (error) {
      const refused = error instanceof ApiError && error.status === 401;
      if (refused) askForKey(() => void this.#loadModels());
      this.#banner(refused ? "The server asks for an API key." : (error as Error).message);
    }
    this.#showModel();
  }

  /** The conversation's model; the first one where it is not there (any more). */
  #showModel(): void {
    const { settings } = this.#current;
    const known = [...this.#models.options].some((o) => o.value === settings.model);
    if (!known && this.#models.options.length > 0) settings.model = this.#models.options[0].value;
    this.#models.value = settings.model;
    this.#models.disabled = this.#models.options.length === 0;
  }

  #showList(): void {
    this.#sidebar.show(this.#conversations, this.#current.id, (id) => this.#running.has(id));
  }

  #save(conversation: Conversation, now = false): void {
    if (this.#leaving) return;
    const { id } = conversation;
    const write = () => {
      this.#saving.delete(id);
      this.#store.put(conversation).catch((error: Error) => this.#banner(`The conversation could not be kept: ${error.message}`));
    };
    if (now) {
      clearTimeout(this.#saving.get(id));
      write();
    } else if (!this.#saving.has(id)) this.#saving.set(id, setTimeout(write, SAVE_EVERY));
  }

  #listen(): void {
    this.#models.addEventListener("change", () => this.#change({ model: this.#models.value }));
    byId("open-settings").addEventListener("click", () => this.#settings());
    byId("banner-retry").addEventListener("click", () => void this.#loadModels());
    document.addEventListener("keydown", (event) => {
      if (document.querySelector("dialog[open]")) return;
      const command = event.ctrlKey || event.metaKey;
      const typing = event.target instanceof HTMLElement && event.target.matches("input, textarea, select");
      if (event.key === "Escape") void this.#stop();
      else if (command && event.shiftKey && event.key.toLowerCase() === "o") this.#create();
      else if (command && event.key === ",") this.#settings();
      else if (event.key === "/" && !typing) this.#composer.focus();
      else return;
      event.preventDefault();
    });
    // What has not been saved when the tab goes; after that the streams break off, which is no failure of the server's.
    addEventListener("pagehide", () => {
      for (const id of this.#saving.keys()) this.#save(this.#conversations.find((c) => c.id === id) ?? this.#current, true);
      this.#leaving = true;
    });
    addEventListener("pageshow", () => (this.#leaving = false));
  }

  #settings(): void {
    editSettings(this.#current.settings, (settings) => this.#change(settings));
  }

  #change(settings: Partial<Conversation["settings"]>): void {
    Object.assign(this.#current.settings, settings);
    if (this.#current.turns.length > 0) this.#save(this.#current, true);
    if (this.#models.options.length === 0) void this.#loadModels();
  }

  #banner(text: string): void {
    byId("banner").hidden = text === "";
    byId("banner-text").textContent = text;
  }

  #toast(text: string, action: string, act: () => void): void {
    const toast = byId("toast");
    const close = setTimeout(() => toast.replaceChildren(), 8000);
    const click = () => {
      clearTimeout(close);
      toast.replaceChildren();
      act();
    };
    toast.replaceChildren(h("span", {}, text), h("button", { type: "button", click }, action));
  }
}

startTheme();
await new App().start();
