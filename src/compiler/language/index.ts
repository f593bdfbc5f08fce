/** The kernel language: what a kernel's author imports. The reference is docs/kernel-language.md. */
export type { Al, Operand, Shape } from "./al.ts";
export { fn, helperFromText, Kernel, kernel } from "./kernel.ts";
export type { AnyKernel, Constexprs, Helper, UsedValue, Uses } from "./kernel.ts";
export {
  bf16,
  bool,
  constexpr,
  dim,
  dim64,
  f16,
  f32,
  f64,
  functionConstant,
  i16,
  i32,
  i64,
  i8,
  out,
  ptr,
  scalar,
  u16,
  u32,
  u64,
  u8,
} from "./signature.ts";
export type { Constexpr, DTypeObject, LaunchArgs, LaunchResult, Pointer, Signature, Tile } from "./signature.ts";
