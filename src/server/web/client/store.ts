/** Conversations in the browser's own database (IndexedDB), and small things in localStorage. Nothing leaves the browser. */
import type { Conversation } from "./types.ts";

const STORE = "conversations";

export interface Store {
  /** Newest first. */
  all(): Promise<Conversation[]>;
  put(conversation: Conversation): Promise<void>;
  remove(id: string): Promise<void>;
  /** False where the browser keeps nothing (private windows of some): everything ends with the tab. */
  readonly lasting: boolean;
}

export async function openStore(): Promise<Store> {
  try {
    return new Database(await open());
  } catch {
    return new Memory();
  }
}

class Database implements Store {
  readonly lasting = true;

  constructor(private readonly db: IDBDatabase) {}

  async all(): Promise<Conversation[]> {
    const list = await promised<Conversation[]>(this.#store("readonly").getAll());
    return list.toSorted((a, b) => b.updated - a.updated);
  }

  async put(conversation: Conversation): Promise<void> {
    const store = this.#store("readwrite");
    const request = store.put(conversation);
    // At once: what is written while the tab closes would otherwise be lost.
    store.transaction.commit();
    await promised(request);
  }

  async remove(id: string): Promise<void> {
    await promised(this.#store("readwrite").delete(id));
  }

  #store(mode: IDBTransactionMode): IDBObjectStore {
    return this.db.transaction(STORE, mode).objectStore(STORE);
  }
}

class Memory implements Store {
  readonly lasting = false;
  readonly #map = new Map<string, Conversation>();

  async all(): Promise<Conversation[]> {
    return [...this.#map.values()].toSorted((a, b) => b.updated - a.updated);
  }

  async put(conversation: Conversation): Promise<void> {
    this.#map.set(conversation.id, conversation);
  }

  async remove(id: string): Promise<void> {
    this.#map.delete(id);
  }
}

function open(): Promise<IDBDatabase> {
  const request = indexedDB.open("alloy", 1);
  request.addEventListener("upgradeneeded", () => request.result.createObjectStore(STORE, { keyPath: "id" }));
  return promised(request);
}

function promised<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.addEventListener("success", () => resolve(request.result));
    request.addEventListener("error", () => reject(request.error ?? new Error("the browser's database failed")));
  });
}
