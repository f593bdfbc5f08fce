/**
 * Book-keeping of the paged KV cache: which blocks are free, which belong to one sequence, and which lie in the prefix tree where
 * sequences with the same beginning share them. It never touches the cache's memory; the runner does.
 *
 * The tree has one node per full block. A sequence that holds a node holds all its ancestors, so a node's holders never outnumber its
 * parent's. Nodes without holders stay as a cache and are evicted least recently used first. Because a sequence lets go of its nodes
 * from the deepest up, a child always stands before its parent in that order, and the first one is always a leaf.
 */

interface Node {
  key: string;
  block: number;
  parent: Node | undefined;
  children: Map<string, Node>;
  holders: number;
}

/** A sequence's blocks in order of position: first those in the tree, then its own. */
export interface Lease {
  readonly nodes: readonly Node[];
  readonly own: readonly number[];
}

interface OpenLease extends Lease {
  readonly nodes: Node[];
  readonly own: number[];
}

export class KvCache {
  private readonly free: number[] = [];
  private readonly roots = new Map<string, Node>();
  /** Nodes that nobody holds, least recently used first. */
  private readonly idle = new Set<Node>();
  /** Blocks below this have been in use. */
  private touched = 0;

  /** @param blockTokens tokens per block */
  constructor(
    readonly blockCount: number,
    readonly blockTokens: number,
  ) {
    for (let b = blockCount - 1; b >= 0; b--) this.free.push(b);
  }

  /** Tokens that the whole cache holds. */
  get capacity(): number {
    return this.blockCount * this.blockTokens;
  }

  /** Blocks that can be had without taking any from a sequence. */
  get available(): number {
    return this.free.length + this.idle.size;
  }

  /** Tokens' worth of blocks that were never in use: memory that the system has promised and not yet given. */
  get untouched(): number {
    return (this.blockCount - this.touched) * this.blockTokens;
  }

  blocksFor(tokens: number): number {
    return Math.ceil(tokens / this.blockTokens);
  }

  /** Starts a sequence on the longest cached prefix of at most `limit` tokens (whole blocks). The lease covers that prefix. */
  open(tokens: Int32Array, limit: number): Lease {
    const nodes: Node[] = [];
    let siblings = this.roots;
    while ((nodes.length + 1) * this.blockTokens <= limit) {
      const node = siblings.get(this.keyAt(tokens, nodes.length));
      if (!node) break;
      this.hold(node);
      nodes.push(node);
      siblings = node.children;
    }
    return { nodes, own: [] };
  }

  /** Tokens that the lease has room for. */
  covered(lease: Lease): number {
    return (lease.nodes.length + lease.own.length) * this.blockTokens;
  }

  /** Gives the lease room for `tokens` tokens in all. Takes nothing and returns false when there are not enough blocks. */
  grow(lease: Lease, tokens: number): boolean {
    const { own, nodes } = lease as OpenLease;
    const missing = this.blocksFor(tokens) - nodes.length - own.length;
    if (missing > this.available) return false;
    for (let i = 0; i < missing; i++) own.push(this.take());
    return true;
  }

  /**
   * Puts the blocks that are full once `computed` tokens are in the cache into the tree. Where another sequence has put the same block
   * there first, the lease changes over to that one and gives its own back.
   */
  commit(lease: Lease, tokens: Int32Array, computed: number): void {
    const { own, nodes } = lease as OpenLease;
    while ((nodes.length + 1) * this.blockTokens <= computed) {
      const parent = nodes.at(-1);
      const siblings = parent ? parent.children : this.roots;
      const key = this.keyAt(tokens, nodes.length);
      const block = own.shift()!;
      let node = siblings.get(key);
      if (node) {
        this.hold(node);
        this.free.push(block);
      } else {
        node = { key, block, parent, children: new Map(), holders: 1 };
        siblings.set(key, node);
      }
      nodes.push(node);
    }
  }

  /** Ends a lease: own blocks become free, those in the tree stay as cache while room lasts. */
  close(lease: Lease): void {
    const { own, nodes } = lease as OpenLease;
    while (own.length > 0) this.free.push(own.pop()!);
    while (nodes.length > 0) {
      const node = nodes.pop()!;
      if (--node.holders === 0) this.idle.add(node);
    }
  }

  /** Block ids of a lease in order of position. */
  table(lease: Lease): Int32Array {
    const out = new Int32Array(lease.nodes.length + lease.own.length);
    lease.nodes.forEach((n, i) => (out[i] = n.block));
    out.set(lease.own, lease.nodes.length);
    return out;
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
    for (const lease of leases) {
      for (const b of lease.own) visit(b, "own");
      lease.nodes.forEach((n, i) => {
        holders.set(n, (holders.get(n) ?? 0) + 1);
        if (n.parent !== lease.nodes[i - 1]) throw new Error(`lease: block ${n.block} does not follow its parent`);
      });
    }
    const older = new Map([...this.idle].map((n, i) => [n, i]));
    const walk = (siblings: Map<string, Node>, parent: Node | undefined): void => {
      for (const [key, node] of siblings) {
        visit(node.block, "tree");
        if (node.key !== key || node.parent !== parent) throw new Error(`tree: block ${node.block} hangs in the wrong place`);
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

  private keyAt(tokens: Int32Array, block: number): string {
    return tokens.subarray(block * this.blockTokens, (block + 1) * this.blockTokens).join();
  }

  private hold(node: Node): void {
    if (node.holders++ === 0) this.idle.delete(node);
  }

  private take(): number {
    const block = this.free.pop();
    if (block !== undefined) {
      this.touched = Math.max(this.touched, block + 1);
      return block;
    }
    const [victim] = this.idle;
    this.idle.delete(victim);
    (victim.parent ? victim.parent.children : this.roots).delete(victim.key);
    return victim.block;
  }
}
