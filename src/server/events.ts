/** Progress of long work as a stream of events. */

/** An event that may be replaced by the next of the same status while nobody reads. */
interface Progress {
  status: string;
  digest?: string;
}

/**
 * The events that `work` emits, as they come; ends when it does, and throws what it throws. Where the reader is slower than the work, of
 * events about the same thing only the newest is kept.
 */
export async function* eventsOf<E extends Progress>(work: (emit: (event: E) => void) => Promise<unknown>): AsyncGenerator<E> {
  const queue: E[] = [];
  let more = Promise.withResolvers<void>();
  let over = false;
  const emit = (event: E) => {
    const last = queue.at(-1);
    if (last?.status === event.status && last.digest === event.digest) queue.pop();
    queue.push(event);
    more.resolve();
  };
  const done = work(emit).finally(() => {
    over = true;
    more.resolve();
  });
  // It is awaited below, but perhaps later than it fails.
  done.catch(() => {});
  while (!over || queue.length > 0) {
    const event = queue.shift();
    if (event) yield event;
    else {
      await more.promise;
      more = Promise.withResolvers<void>();
    }
  }
  await done;
}
