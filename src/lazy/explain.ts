/** What a read will do, for people and tests. */
import type { Work } from "./schedule.ts";
import { temporaryBytes } from "./schedule.ts";
import { shapeText } from "./shapes.ts";

export interface ExplainedDispatch {
  /** Operations that this one kernel computes, in order. */
  readonly operations: readonly string[];
  /** Name of the kernel and its constexpr values. */
  readonly kernel: string;
  readonly grid: readonly [number, number, number];
  /** Type and shape of what it reads and writes. */
  readonly reads: readonly string[];
  readonly writes: string;
}

export interface Explanation {
  readonly dispatches: readonly ExplainedDispatch[];
  /** Bytes of memory between dispatches. */
  readonly temporaryBytes: number;
  toString(): string;
}

export function explainWork(work: Work): Explanation {
  const dispatches = work.steps.map((s): ExplainedDispatch => {
    const memory = [...s.group.reads].filter((v) => v.node.op.kind !== "number");
    return {
      operations: s.operations,
      kernel: s.kernel.symbol(s.constexprs),
      grid: s.grid,
      reads: memory.map((v) => `${v.node.dtype}${shapeText(v.node.shape)}`),
      writes: s.group.root.node.op.kind === "launch" ? "its outputs" : `${s.group.root.node.dtype}${shapeText(s.group.root.node.shape)}`,
    };
  });
  const bytes = temporaryBytes(work);
  return {
    dispatches,
    temporaryBytes: bytes,
    toString() {
      if (!dispatches.length) return "nothing to run: the result is there";
      const lines = dispatches.map((d, i) => {
        const head = `${i + 1}. ${d.operations.join(" + ")}: ${d.reads.join(", ")} -> ${d.writes}`;
        return `${head}\n   ${d.kernel}, grid ${d.grid.join(" × ")}`;
      });
      return [...lines, `temporary memory: ${bytes} bytes`].join("\n");
    },
  };
}
