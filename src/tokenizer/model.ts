/** What turns one pre-tokenised word into ids, and the cache that all such models use. */

export interface WordModel {
  /** Appends the ids of `word`. */
  encode(word: string, out: number[]): void;
}

/** Longer words are rarely seen twice. */
const MAX_WORD = 48;
const MAX_WORDS = 1 << 16;

/** Remembers the ids of short words. Starts anew when full. */
export class WordCache {
  private readonly words = new Map<string, number | Int32Array>();

  /** Appends the remembered ids of `word`; false if it is not known. */
  emit(word: string, out: number[]): boolean {
    const hit = this.words.get(word);
    if (hit === undefined) return false;
    if (typeof hit === "number") out.push(hit);
    else for (let i = 0; i < hit.length; i++) out.push(hit[i]);
    return true;
  }

  /** Remembers what was appended to `out` from index `from` on. */
  keep(word: string, out: number[], from: number): void {
    if (word.length > MAX_WORD) return;
    if (this.words.size >= MAX_WORDS) this.words.clear();
    // A match is a view of the whole text; a copy keeps the cache from holding every text it ever saw.
    const key = (" " + word).slice(1);
    this.words.set(key, out.length === from + 1 ? out[from] : Int32Array.from(out.slice(from)));
  }
}
