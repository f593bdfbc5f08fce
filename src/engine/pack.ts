/**
 * Lists of token ids on their way between processes: as typed arrays, since the serialisation takes a microsecond or more for each element
 * of an ordinary one.
 */

/** Shorter lists are not worth it. */
const LEAST = 64;
/** Ids lie no deeper in a message than `request.prompt.ids`, and no list of arguments is longer. */
const DEPTH = 3;
const MOST_ITEMS = 8;

/** The same message with long lists of integers packed. */
export const pack = <T>(message: T): T =>
  walk(message, DEPTH, (list) => (list.every(isInt32) ? Int32Array.from(list as number[]) : list)) as T;

/** What `pack` was given. */
export const unpack = <T>(message: T): T => walk(message, DEPTH, (list) => list) as T;

function walk(value: unknown, depth: number, long: (list: unknown[]) => unknown): unknown {
  if (value instanceof Int32Array) return Array.from(value);
  if (Array.isArray(value)) {
    if (value.length >= LEAST) return long(value);
    return depth > 0 && value.length <= MOST_ITEMS ? value.map((v) => walk(v, depth - 1, long)) : value;
  }
  if (depth === 0 || value === null || typeof value !== "object" || Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([key, v]) => [key, walk(v, depth - 1, long)]));
}

const isInt32 = (value: unknown): boolean => typeof value === "number" && (value | 0) === value;
