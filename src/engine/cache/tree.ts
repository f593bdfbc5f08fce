/**
 * Nodes of the prefix tree. Siblings are sorted by their tokens, so that one binary search finds the node that holds given tokens, or
 * where those would stand, and beside that place whatever shares the longest beginning with them.
 */

export interface Node {
  /** A block's worth of token ids, or fewer in a tail. */
  readonly tokens: Int32Array;
  readonly block: number;
  readonly parent: Node | undefined;
  readonly children: Node[];
  holders: number;
}

/** Length of the longest common prefix. */
export function commonTokens(a: Int32Array, b: Int32Array): number {
  const n = Math.min(a.length, b.length);
  let i = 0;
  while (i < n && a[i] === b[i]) i++;
  return i;
}

/** Where `tokens` stand or would stand among sorted siblings, and whether they do. */
export function nodeAt(siblings: readonly Node[], tokens: Int32Array): { index: number; found: boolean } {
  let low = 0;
  let high = siblings.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const order = compare(siblings[middle].tokens, tokens);
    if (order === 0) return { index: middle, found: true };
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  return { index: low, found: false };
}

/** Puts a node among its siblings, where none has the same tokens. Returns its place. */
export function insertNode(siblings: Node[], node: Node): number {
  const { index } = nodeAt(siblings, node.tokens);
  siblings.splice(index, 0, node);
  return index;
}

export function removeNode(siblings: Node[], node: Node): void {
  siblings.splice(nodeAt(siblings, node.tokens).index, 1);
}

/** Token by token; of two where one begins with the other, the shorter one comes first. */
function compare(a: Int32Array, b: Int32Array): number {
  const i = commonTokens(a, b);
  if (i === a.length || i === b.length) return a.length - b.length;
  return a[i] - b[i];
}
