/** Where a log's lines go: a reader that stands still must not make the server stand still. */

/** Bytes that wait for a slow reader. What is beyond is dropped, and a line says how much was. */
const LIMIT = 2 ** 20;

export class LogSink {
  #waiting: string[] = [];
  #size = 0;
  #dropped = 0;
  #draining: Promise<void> | undefined;

  /** @param put writes some bytes and says how many */
  constructor(
    private readonly put: (bytes: Uint8Array) => Promise<number>,
    private readonly limit = LIMIT,
  ) {}

  /** Takes whole lines; never waits, never throws. */
  write(line: string): void {
    if (this.#size + line.length > this.limit) {
      this.#dropped++;
      return;
    }
    this.#waiting.push(line);
    this.#size += line.length;
    this.#draining ??= this.#drain().finally(() => (this.#draining = undefined));
  }

  /** Resolves when all is written, or after `ms`. */
  async flush(ms: number): Promise<void> {
    await Promise.race([this.#draining, Bun.sleep(ms)]);
  }

  async #drain(): Promise<void> {
    while (this.#waiting.length > 0) {
      if (this.#dropped > 0) {
        this.#waiting.push(`{"level":"warn","msg":"lines of the log were dropped because nobody read it","lines":${this.#dropped}}\n`);
        this.#dropped = 0;
      }
      let bytes: Uint8Array = Buffer.from(this.#waiting.join(""));
      this.#waiting = [];
      this.#size = 0;
      while (bytes.length > 0) {
        try {
          bytes = bytes.subarray(await this.put(bytes));
        } catch (e) {
          // Another program made the pipe non-blocking, and it is full; with any other error there is no reader any more.
          if ((e as NodeJS.ErrnoException).code !== "EAGAIN") break;
          await Bun.sleep(5);
        }
      }
    }
  }
}
