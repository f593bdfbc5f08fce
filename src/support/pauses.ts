/** Long work on a thread that others need as well. */

/**
 * `await pause()` between pieces of work: returns at once until the work has run for `ms`, then lets timers, messages and other work in. Pieces
 * should be shorter than that.
 */
export function pauses(ms = 4): () => Promise<void> | undefined {
  let since = performance.now();
  return () => {
    if (performance.now() - since < ms) return undefined;
    return new Promise((resolve) =>
      setImmediate(() => {
        since = performance.now();
        resolve();
      }),
    );
  };
}
