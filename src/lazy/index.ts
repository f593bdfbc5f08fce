/** Lazy buffers: builtins and elementwise work that fuse, and run when a result is read. The reference is docs/lazy-buffers.md. */
export { buffer, evaluate, LazyBuffer } from "./buffer.ts";
export type { BufferOptions, LazyOperand, ReduceOptions } from "./buffer.ts";
export { attention, crossEntropy, dot, dotTransposeB, layerNorm, rmsNorm, softmax, where } from "./builtins.ts";
export type { AttentionOptions, CrossEntropyOptions, NormOptions } from "./builtins.ts";
export type { ExplainedDispatch, Explanation } from "./explain.ts";
