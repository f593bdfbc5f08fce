/** What the threads of a simdgroup compute together. */
import { SCAN_STEP } from "./interpret-shape.ts";
import type { Machine } from "./machine.ts";
import type { Elements } from "./memory.ts";
import type { Num } from "./scalar.ts";
import { binaryFunction, wrap } from "./scalar.ts";
import type { DType, Op } from "./types.ts";
import { SIMD_WIDTH } from "./types.ts";

type Rule = (op: Op, lanes: readonly Machine[]) => void;

const REDUCE_STEP: Readonly<Record<string, string>> = { ...SCAN_STEP, and: "and", or: "or", xor: "xor", any: "max", all: "min" };

/** Fills every lane's result: element i from all lanes' element i of the first operand. */
function perElement(op: Op, lanes: readonly Machine[], f: (x: readonly Num[]) => readonly Num[]): void {
  const x = lanes.map((m) => m.get(op.args[0]));
  const out = lanes.map((m) => m.result(op));
  for (let i = 0; i < x[0].length; i++) f(x.map((e) => e[i])).forEach((v, lane) => (out[lane][i] = v));
}

/** Lane that a shuffle reads; the own one where there is no such lane. */
function source(mode: string, lane: number, by: number): number {
  const from = mode === "index" ? by : mode === "up" ? lane - by : mode === "down" ? lane + by : lane ^ by;
  return from >= 0 && from < SIMD_WIDTH ? from : lane;
}

/** Rows and columns of a lane's two elements of an 8x8 matrix. */
const fragmentAt = (lane: number): { row: number; col: number } => ({
  row: ((lane >> 1) & 3) | (((lane >> 4) & 1) << 2),
  col: ((lane & 1) << 1) | (((lane >> 3) & 1) << 2),
});

function matrix(lanes: readonly Machine[], get: (m: Machine) => Elements): number[][] {
  const out = Array.from({ length: 8 }, () => Array.from({ length: 8 }, () => 0));
  lanes.forEach((m, lane) => {
    const { row, col } = fragmentAt(lane);
    out[row][col] = get(m)[0] as number;
    out[row][col + 1] = get(m)[1] as number;
  });
  return out;
}

const RULES: Readonly<Record<string, Rule>> = {
  simdShuffle: (op, lanes) => {
    const from = lanes.map((m, lane) => source(op.attrs.mode as string, lane, Number(m.get(op.args[1])[0])));
    perElement(op, lanes, (x) => from.map((lane) => x[lane]));
  },
  simdReduce: (op, lanes) => {
    const { dtype } = op.args[0].type;
    const f = binaryFunction(REDUCE_STEP[op.attrs.kind as string], dtype === "bool" ? ("i32" as DType) : dtype);
    perElement(op, lanes, (x) => {
      const total = x.reduce((a, b) => wrap(dtype, f(a, b)));
      return x.map(() => total);
    });
  },
  simdScan: (op, lanes) => {
    const { dtype } = op.args[0].type;
    const sum = op.attrs.kind === "sum";
    const f = binaryFunction(sum ? "add" : "mul", dtype);
    perElement(op, lanes, (x) => {
      let acc: Num = sum ? 0 : 1;
      return x.map((v) => {
        const before = acc;
        acc = wrap(dtype, f(acc, v));
        return op.attrs.exclusive ? before : acc;
      });
    });
  },
  simdBallot: (op, lanes) =>
    perElement(op, lanes, (x) => {
      const bits = x.reduce((word: number, v, lane) => (v ? word | (1 << lane) : word), 0) >>> 0;
      return x.map(() => bits);
    }),
  simdMma: (op, lanes) => {
    const [a, b, c] = op.args.map((v) => matrix(lanes, (m) => m.get(v)));
    const cell = (row: number, col: number): number => {
      let sum = c[row][col];
      for (let k = 0; k < 8; k++) sum = Math.fround(sum + Math.fround(a[row][k] * b[k][col]));
      return sum;
    };
    lanes.forEach((m, lane) => {
      const { row, col } = fragmentAt(lane);
      const out = m.result(op);
      out[0] = cell(row, col);
      out[1] = cell(row, col + 1);
    });
  },
};

/** Runs an op that all lanes have reached and gives each its result. */
export function runSimd(op: Op, lanes: readonly Machine[]): void {
  RULES[op.op](op, lanes);
}
