/**
 * Book-keeping of the paged KV cache: which blocks are free, which belong to one sequence, and which lie in the prefix tree where
 * sequences with the same beginning share them. It never touches the cache's memory; the runner does.
 *
 * The tree has one node per full block, and leaves that are not full: the *tails* of sequences that ended. A sequence that holds a node
 * holds all its ancestors, so a node's holders never outnumber its parent's; nobody holds a tail. What a sequence shares with a node only in
 * part is copied into a block of its own (copy on write), so reuse is by the token. Nodes without holders stay as a cache and are evicted
 * least recently used first. Because a sequence lets go of its nodes from the deepest up, a child always stands before its parent in that
 * order, and the first one is always a leaf.
 */
import { commonTokens, insertNode, type Node, nodeAt, removeNode } from "./tree.ts";

/** A sequence's blocks in order of position: those in the tree, then its own. */
export interface Lease {
  readonly nodes: readonly Node[];
  /** Block ids; only the first `count` count. */
  readonly ids: Int32Array;
  readonly count: number;
}

interface OpenLease extends Lease {
  readonly nodes: Node[];
  ids: Int32Array;
  count: number;
}

/** What the cache has of a prompt. Good until the cache changes. */
export interface Match {
  readonly nodes: readonly Node[];
  /** A node behind them whose first tokens are the prompt's next ones. */
  readonly source: Node | undefined;
  /** Tokens found: those of the nodes and the beginning of `source`. */
  readonly tokens: number;
}

/** A sequence that may begin. */
export interface Opened {
  lease: Lease;
  /** Tokens at the beginning whose keys and values are there, once `copy` is done. */
  cached: number;
  /** Block to copy before anything else happens to the cache. */
  copy?: { from: number; to: number };
}

export class KvCache {
  /** Nodes that gave their block to somebody else. */
  evictions = 0;
  private readonly free: number[] = [];
  private readonly roots: Node[] = [];
  /** Nodes that nobody holds, least recently used first. */
  private readonly idle = new Set<Node>();
  /** Blocks below this have been in use. */
  private touched = 0;
  /** Fewer tokens than this are computed again rather than copied: a block's copy costs about as much. */
  private readonly leastCopied: number;

  /** @param blockTokens tokens per block */
  constructor(
    readonly blockCount: number,
    readonly blockTokens: number,
  ) {
    for (let b = blockCount - 1; b >= 0; b--) this.free.push(b);
    this.leastCopied = Math.max(1, blockTokens >> 3);
  }

  /** Tokens that the whole cache holds. */
  get capacity(): number {
    return this.blockCount * this.blockTokens;
  }

  /** Blocks that can be had without taking any from a sequence. */
  get available(): number {
    return this.free.length + this.idle.size;
  }

  /** Blocks of prefixes that no sequence uses at present. */
  get cached(): number {
    return this.idle.size;
  }

  /** Tokens' worth of blocks that were never in use: memory that the system has promised and not yet given. */
  get untouched(): number {
    return (this.blockCount - this.touched) * this.blockTokens;
  }

  blocksFor(tokens: number): number {
    return Math.ceil(tokens / this.blockTokens);
  }

  /** The longest cached prefix of at most `limit` tokens. */
  match(tokens: Int32Array, limit: number): Match {
    const nodes: Node[] = [];
    let siblings = this.roots;
    for (;;) {
      const at = nodes.length * this.blockTokens;
      const wanted = tokens.subarray(at, Math.min(at + this.blockTokens, limit));
      const { index, found } = nodeAt(siblings, wanted);
      if (!found || wanted.length < this.blockTokens) {
        // Among sorted siblings the one that shares most stands beside where the wanted tokens would.
        const near = [siblings[index - 1], siblings[index]].filter((n) => n !== undefined);
        const shared = near.map((n) => commonTokens(n.tokens, wanted));
        const most = Math.max(0, ...shared);
        if (most < this.leastCopied) return { nodes, source: undefined, tokens: at };
        return { nodes, source: near[shared.indexOf(most)], tokens: at + most };
      }
      nodes.push(siblings[index]);
      siblings = siblings[index].children;
    }
  }

  /**
   * Starts a sequence on what was found for it, with room for `length` tokens in all. Undefined, and nothing taken, when fewer than `spare`
   * blocks would be left.
   */
  open(match: Match, length: number, spare = 0): Opened | undefined {
    const nodes = [...match.nodes];
    const { source } = match;
    for (const n of nodes) this.hold(n);
    if (this.blocksFor(length) - nodes.length + spare > this.available) {
      while (nodes.length > 0) this.release(nodes.pop()!);
      return undefined;
    }
    if (source) this.touch(source);
    const lease: OpenLease = { nodes, ids: Int32Array.from(nodes, (n) => n.block), count: nodes.length };
    this.grow(lease, length);
    if (!source) return { lease, cached: nodes.length * this.blockTokens };
    // Even if the source's was the last block to be had, and is now this sequence's: what it holds is still there.
    return { lease, cached: match.tokens, copy: { from: source.block, to: lease.ids[nodes.length] } };
  }

  /** Tokens that the lease has room for. */
  covered(lease: Lease): number {
    return lease.count * this.blockTokens;
  }

  /** Gives the lease room for `tokens` tokens in all. Takes nothing and returns false when there are not enough blocks. */
  grow(lease: Lease, tokens: number): boolean {
    const l = lease as OpenLease;
    const count = this.blocksFor(tokens);
    if (count - l.count > this.available) return false;
    if (count > l.ids.length) {
      const larger = new Int32Array(Math.max(count, Math.ceil(l.ids.length * 1.5)));
      larger.set(l.ids);
      l.ids = larger;
    }
    while (l.count < count) l.ids[l.count++] = this.take();
    return true;
  }

  /**
   * Puts the blocks that are full once `computed` tokens are in the cache into the tree. Where another sequence has put the same block
   * there first, the lease changes over to that one and gives its own back.
   */
  commit(lease: Lease, tokens: Int32Array, computed: number): void {
    const { nodes, ids } = lease as OpenLease;
    for (let at = nodes.length * this.blockTokens; at + this.blockTokens <= computed; at += this.blockTokens) {
      const parent = nodes.at(-1);
      const block = ids[nodes.length];
      const { index, found } = nodeAt(this.childrenOf(parent), tokens.subarray(at, at + this.blockTokens));
      if (found) {
        const node = this.childrenOf(parent)[index];
        this.hold(node);
        this.free.push(block);
        ids[nodes.length] = node.block;
        nodes.push(node);
      } else nodes.push(this.plant(parent, tokens.slice(at, at + this.blockTokens), block, 1));
    }
  }

  /**
   * Ends a lease of which `computed` tokens are in the cache. Blocks in the tree stay as cache while room lasts, and so does the one that
   * is not full; the others become free.
   */
  close(lease: Lease, tokens: Int32Array, computed: number): void {
    const l = lease as OpenLease;
    this.commit(l, tokens, computed);
    const { nodes, ids } = l;
    while (l.count > nodes.length + 1) this.free.push(ids[--l.count]);
    if (l.count > nodes.length) this.leaveTail(nodes.at(-1), tokens.slice(nodes.length * this.blockTokens, computed), ids[--l.count]);
    while (nodes.length > 0) this.release(nodes.pop()!);
    l.count = 0;
  }

  /** Block ids of a lease in order of position; the view changes with the lease. */
  table(lease: Lease): Int32Array {
    return lease.ids.subarray(0, lease.count);
  }

  /** Throws unless every block is in exactly one place and every count is right, given all open leases. */
  check(leases: readonly Lease[]): void {
    const seen = new Uint8Array(this.blockCount);
    const visit = (block: number, where: string): void => {
      if (!(block >= 0 && block < this.blockCount)) throw new Error(`${where}: block ${block} does not exist`);
      if (seen[block]++) throw new Error(`${where}: block ${block} is in two places`);
    };
    for (const b of this.free) visit(b, "free");
    const holders = new Map<Node, number>();
    for (const { nodes, ids, count } of leases) {
      for (let i = nodes.length; i < count; i++) visit(ids[i], "own");
      nodes.forEach((n, i) => {
        holders.set(n, (holders.get(n) ?? 0) + 1);
        if (n.parent !== nodes[i - 1]) throw new Error(`lease: block ${n.block} does not follow its parent`);
        if (n.block !== ids[i]) throw new Error(`lease: block ${ids[i]} stands where ${n.block} belongs`);
      });
    }
    const older = new Map([...this.idle].map((n, i) => [n, i]));
    const walk = (siblings: readonly Node[], parent: Node | undefined): void => {
      for (const [i, node] of siblings.entries()) {
        visit(node.block, "tree");
        const { index, found } = nodeAt(siblings, node.tokens);
        if (!found || index !== i || node.parent !== parent) throw new Error(`tree: block ${node.block} hangs in the wrong place`);
        const full = node.tokens.length === this.blockTokens;
        if (!full && (node.tokens.length > this.blockTokens || node.children.length > 0 || node.holders > 0))
          throw new Error(`tree: block ${node.block} has ${node.tokens.length} tokens, and children or holders`);
        if (node.holders !== (holders.get(node) ?? 0)) {
          throw new Error(`tree: block ${node.block} counts ${node.holders} holders and has ${holders.get(node) ?? 0}`);
        }
        if ((node.holders === 0) !== older.has(node)) throw new Error(`tree: block ${node.block} is idle in one place only`);
        if (parent && older.has(parent) && !(older.get(node)! < older.get(parent)!)) {
          throw new Error(`tree: block ${parent.block} would be evicted before its child ${node.block}`);
        }
        walk(node.children, node);
      }
    };
    walk(this.roots, undefined);
    const lost = seen.indexOf(0);
    if (lost !== -1) throw new Error(`block ${lost} is nowhere`);
  }

  private childrenOf(parent: Node | undefined): Node[] {
    return parent ? parent.children : this.roots;
  }

  /** Keeps a block that is not full, unless what it holds is there already or too little. */
  private leaveTail(parent: Node | undefined, tokens: Int32Array, block: number): void {
    const siblings = this.childrenOf(parent);
    const { index } = nodeAt(siblings, tokens);
    // What begins with these tokens, themselves included, stands where they would.
    const covered = index < siblings.length && commonTokens(siblings[index].tokens, tokens) === tokens.length;
    if (covered || tokens.length < this.leastCopied) this.free.push(block);
    else this.idle.add(this.plant(parent, tokens, block, 0));
  }

  /** A new node. The tail that it continues is of no more use. */
  private plant(parent: Node | undefined, tokens: Int32Array, block: number, holders: number): Node {
    const siblings = this.childrenOf(parent);
    const node: Node = { tokens, block, parent, children: [], holders };
    const index = insertNode(siblings, node);
    const before = siblings[index - 1];
    if (before?.holders === 0 && before.tokens.length < tokens.length && commonTokens(before.tokens, tokens) === before.tokens.length) {
      this.drop(before);
      this.free.push(before.block);
    }
    return node;
  }

  private hold(node: Node): void {
    if (node.holders++ === 0) this.idle.delete(node);
  }

  private release(node: Node): void {
    if (--node.holders === 0) this.idle.add(node);
  }

  /** Makes a node the most recently used. */
  private touch(node: Node): void {
    if (this.idle.delete(node)) this.idle.add(node);
  }

  private drop(node: Node): void {
    this.idle.delete(node);
    removeNode(this.childrenOf(node.parent), node);
  }

  private take(): number {
    const block = this.free.pop();
    if (block !== undefined) {
      this.touched = Math.max(this.touched, block + 1);
      return block;
    }
    const [victim] = this.idle;
    this.drop(victim);
    this.evictions++;
    return victim.block;
  }
}
