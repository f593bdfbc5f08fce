/** How dispatches become the 64-bit words that native code walks: what the drivers' encoders share. */
import { AlloyError } from "../support/errors.ts";
import type { Argument, Dispatch, GridSize, ParamKind, Slot } from "./device.ts";

/** Set in a grid word that names a slot. */
export const SLOT_FLAG = 1n << 63n;
const MAX_ARGS = 64;

export const isSlot = (x: GridSize | Argument): x is Slot => typeof x === "object" && "slot" in x;

const scratch = new DataView(new ArrayBuffer(8));
/** A number as the 8 bytes in which a parameter of this kind travels. */
export function bits(kind: ParamKind, value: number): bigint {
  scratch.setBigUint64(0, 0n, true);
  if (kind === "f32") scratch.setFloat32(0, value, true);
  else if (kind === "f64") scratch.setFloat64(0, value, true);
  else return BigInt.asUintN(64, BigInt(value));
  return scratch.getBigUint64(0, true);
}

/** A dispatch while it is encoded: its checks name it. */
export class Encoding {
  readonly where: string;

  constructor(
    readonly dispatch: Dispatch,
    private readonly slots: number,
  ) {
    const { program, label, args } = dispatch;
    this.where = label ? `${label} (${program.symbol})` : program.symbol;
    const n = program.params.length;
    if (args.length !== n || n > MAX_ARGS) throw this.error(`takes ${n} arguments (at most ${MAX_ARGS}), got ${args.length}`);
  }

  error(what: string): AlloyError {
    return new AlloyError("device_error", `${this.where} ${what}`);
  }

  slot(s: Slot): bigint {
    if (!Number.isInteger(s.slot) || s.slot < 0 || s.slot >= this.slots)
      throw this.error(`names slot ${s.slot} of a plan with ${this.slots}`);
    return BigInt(s.slot);
  }

  /** The three words of the grid. */
  grid(): bigint[] {
    return this.dispatch.grid.map((g) => {
      if (isSlot(g)) return SLOT_FLAG | this.slot(g);
      if (!Number.isInteger(g) || g < 0 || g > 0xffffffff) throw this.error(`has a grid axis of ${g}`);
      return BigInt(g);
    });
  }

  /** Tag and value of a number or slot for a parameter: 0 a value, 1 a slot's bits, 2 and 3 a slot's double as f32 and f64. */
  number(index: number): [tag: bigint, value: bigint] {
    const kind = this.dispatch.program.params[index];
    const arg = this.dispatch.args[index];
    if (typeof arg !== "number") {
      if (!isSlot(arg)) throw this.error(`takes ${kind} as argument ${index}, got a buffer`);
      return [kind === "f32" ? 2n : kind === "f64" ? 3n : 1n, this.slot(arg)];
    }
    if (kind !== "f32" && kind !== "f64" && !Number.isInteger(arg)) throw this.error(`takes ${kind} as argument ${index}, got ${arg}`);
    return [0n, bits(kind, arg)];
  }
}
