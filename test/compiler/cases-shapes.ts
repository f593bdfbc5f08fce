/** Kernels of reductions, views, memory forms, products and control flow, and random programs made of all of them. */
import type { DType, Value } from "../../src/compiler/ir/types.ts";
import { elements } from "../../src/compiler/ir/types.ts";
import { broadcastShapes } from "../../src/compiler/ir/ops.ts";
import type { Case } from "./emit-c/harness.ts";
import { Make, Random, randomArray, seed } from "./emit-c/harness.ts";

const r = new Random(seed + 1);
let serial = 0;

function one(
  name: string,
  inputs: [DType, number][],
  body: (m: Make, params: number[]) => Value[],
  options: { ulp?: number; absolute?: number; special?: boolean; grid?: number } = {},
): Case {
  const m = new Make();
  const args: Case["args"] = {};
  const grid = options.grid ?? 2;
  const params = inputs.map(([d, n], i) => {
    args[`x${i}`] = randomArray(r, d, n * grid, 4, options.special ?? true);
    return m.ptr(`x${i}`, d);
  });
  const results = body(m, params);
  results.forEach((v, i) => {
    args[`y${i}`] = randomArray(r, v.type.dtype, elements(v.type.shape) * grid);
    m.storeTile(m.ptr(`y${i}`, v.type.dtype, true), v);
  });
  return { ir: m.finish(`${name}_${serial++}`, {}), grid: [grid, 1, 1], args, ulp: options.ulp, absolute: options.absolute };
}

function reductions(): Case[] {
  const out: Case[] = [];
  const shapes = [[7], [16], [37], [600], [1000], [5, 9], [3, 64], [20, 100], [40, 48], [2, 3, 5], [70, 3]];
  for (const d of ["i32", "u32", "i64", "u64", "f32", "f64"] as const)
    for (const kind of ["sum", "max", "min", "argmax", "argmin"]) {
      const s = r.pick(shapes);
      const axis = r.int(0, s.length - 1);
      const sum = kind === "sum" && d[0] === "f";
      out.push(
        one(`reduce_${kind}_${d}`, [[d, elements(s)]], (m, [x]) => [m.one("reduce", [m.loadTile(x, s)], { kind, axis })], {
          special: !sum,
          absolute: sum ? 1e-3 : 0,
        }),
      );
    }
  for (const kind of ["any", "all"])
    for (const s of [[5, 33], [300, 4], [17]])
      out.push(
        one(`reduce_${kind}`, [["bool", elements(s)]], (m, [x]) => [m.one("reduce", [m.loadTile(x, s)], { kind, axis: s.length - 1 })]),
      );
  // Softmax over long rows: groups, reductions in them, arrays between them.
  for (const n of [4096, 1000, 130]) {
    out.push(
      one(
        `softmax${n}`,
        [["f32", n * 3]],
        (m, [x]) => {
          const v = m.loadTile(x, [3, n]);
          const wide = (t: Value): Value => m.broadcast(m.one("reshape", [t], { shape: [3, 1] }), [3, n]);
          const e = m.one("exp", [m.one("sub", [v, wide(m.one("reduce", [v], { kind: "max", axis: 1 }))])]);
          return [m.one("div", [e, wide(m.one("reduce", [e], { kind: "sum", axis: 1 }))])];
        },
        { special: false, ulp: 64, absolute: 1e-7 },
      ),
    );
  }
  return out;
}

function products(): Case[] {
  const out: Case[] = [];
  for (const [M, N, K] of [
    [1, 16, 8],
    [4, 32, 16],
    [6, 64, 33],
    [16, 16, 16],
    [3, 5, 7],
    [32, 64, 32],
    [64, 64, 16],
    [17, 100, 9],
  ])
    for (const d of ["f32", "f16", "bf16"] as const) {
      const [transposeA, transposeB] = [r.next() < 0.5, r.next() < 0.5];
      out.push(
        one(
          `dot_${M}_${N}_${K}_${d}`,
          [
            [d, M * K],
            [d, N * K],
            ["f32", M * N],
          ],
          (m, [a, b, c]) => [
            m.one(
              "dot",
              [m.loadTile(a, transposeA ? [K, M] : [M, K]), m.loadTile(b, transposeB ? [N, K] : [K, N]), m.loadTile(c, [M, N])],
              { transposeA, transposeB },
            ),
          ],
          { special: false, absolute: 1e-3, ulp: 16 },
        ),
      );
    }
  return out;
}

function memoryForms(): Case[] {
  const out: Case[] = [];
  for (const d of ["f32", "i8", "f16", "bf16", "u16", "i64", "f64", "bool"] as const)
    for (const n of [16, 37, 300, 1000]) {
      // masked rows: base + arange < bound, with another value where the mask is off, and a masked store
      out.push(
        one(`masked_${d}_${n}`, [[d, n]], (m, [x]) => {
          const i = m.offsets([n]);
          const bound = m.broadcast(m.int(r.int(0, 2 * n)), [n]);
          const mask = m.one("lt", [i, bound]);
          const other = m.cast(m.one("arange", [], { start: 0, n }), d);
          const v = r.next() < 0.5 ? m.one("load", [i, mask, other], { param: x }) : m.one("load", [i, mask], { param: x });
          const y = m.ptr("masked_out", d, true);
          m.emit("store", [i, v, m.one("ge", [m.broadcast(m.int(r.int(0, 2 * n)), [n]), i])], { param: y });
          return [v];
        }),
      );
      out[out.length - 1].args.masked_out = randomArray(r, d, 2 * n);
    }
  for (const d of ["f32", "u8", "f16", "i64"] as const) {
    const n = r.pick([16, 40, 7]);
    // strided, gathered (32- and 64-bit offsets), under data-dependent masks
    out.push(
      one(
        `gather_${d}`,
        [
          [d, 400],
          ["i32", n],
          ["bool", n],
        ],
        (m, [x, o, b]) => {
          const index = m.one("and", [m.loadTile(o, [n]), m.broadcast(m.int(255), [n])]);
          const mask = m.loadTile(b, [n]);
          const stride = m.one("mul", [m.one("arange", [], { start: 1, n }), m.broadcast(m.int(r.int(2, 9)), [n])]);
          return [
            m.one("load", [index], { param: x }),
            m.one("load", [m.cast(index, "i64"), mask], { param: x }),
            m.one("load", [stride], { param: x }),
            m.one("load", [stride, mask], { param: x }),
          ];
        },
      ),
    );
    const y = "scattered";
    out.push(
      one(
        `scatter_${d}`,
        [
          [d, n],
          ["bool", n],
        ],
        (m, [x, b]) => {
          const at = m.one("mul", [m.offsets([n]), m.broadcast(m.int(3), [n])]);
          const p = m.ptr(y, d, true);
          m.emit("store", [at, m.loadTile(x, [n]), m.loadTile(b, [n])], { param: p });
          return [];
        },
      ),
    );
    out[out.length - 1].args[y] = randomArray(r, d, 6 * n);
  }
  return out;
}

function control(): Case[] {
  const out: Case[] = [];
  for (const shape of [[16], [5, 33], [300], [64, 40], []]) {
    const n = elements(shape);
    // Two carried tiles that change places, an accumulator, and an offset that only moves.
    out.push(
      one(`loop_${n}`, [["i32", n * 6]], (m, [x]) => {
        const i32 = { dtype: "i32" as const, shape };
        const a = m.loadTile(x, shape);
        const b = m.const(i32, 3);
        const start = m.offsets(shape);
        const body = m.within(
          { args: [m.value({ dtype: "i32", shape: [] }), m.value(i32), m.value(i32), m.value(i32)], ops: [] },
          () => {},
        );
        const [iv, p, q, at] = body.args;
        m.within(body, () => {
          const sum = m.one("add", [p, m.one("add", [m.one("load", [at], { param: x }), m.broadcast(iv, shape)])]);
          m.append("yield", [q, sum, m.one("add", [at, m.broadcast(m.int(n), shape)])], {}, [], []);
        });
        return m.append("for", [m.int(0), m.int(4), m.int(1), a, b, start], {}, [i32, i32, i32], [body]).results;
      }),
    );
    out.push(
      one(`branch_${n}`, [["i32", n]], (m, [x]) => {
        const type = { dtype: "i32" as const, shape };
        const v = m.loadTile(x, shape);
        const odd = m.one("eq", [m.one("programId", [], { axis: 0 }), m.int(1)]);
        const side = (f: () => Value) => m.within({ args: [], ops: [] }, () => m.append("yield", [f()], {}, [], []));
        const then = side(() => m.one("add", [v, v]));
        const otherwise = side(() => m.const(type, 7));
        return m.append("if", [odd], {}, [type], [then, otherwise]).results;
      }),
    );
    out.push(
      one(`while_${n}`, [["i32", n]], (m, [x]) => {
        const type = { dtype: "i32" as const, shape };
        const count = { dtype: "i32" as const, shape: [] };
        const cond = { args: [m.value(count), m.value(type)], ops: [] };
        m.within(cond, () =>
          m.append("yield", [m.one("lt", [cond.args[0], m.int(5)]), m.one("add", [cond.args[0], m.int(1)]), cond.args[1]], {}, [], []),
        );
        const body = { args: [m.value(count), m.value(type)], ops: [] };
        m.within(body, () => m.append("yield", [body.args[0], m.one("xor", [body.args[1], m.broadcast(body.args[0], shape)])], {}, [], []));
        return m.append("while", [m.int(0), m.loadTile(x, shape)], {}, [count, type], [cond, body]).results;
      }),
    );
  }
  // A row that moves by what a reduction over an array finds.
  for (const n of [16, 300])
    out.push(
      one(`moving_${n}`, [["i32", n]], (m, [x]) => {
        const row = { dtype: "i32" as const, shape: [n] };
        const tile = m.loadTile(x, [n]);
        const body = { args: [m.value({ dtype: "i32", shape: [] }), m.value(row)], ops: [] };
        m.within(body, () => {
          const found = m.one("reduce", [tile], { kind: "argmax", axis: 0 });
          m.append("yield", [m.one("add", [body.args[1], m.broadcast(found, [n])])], {}, [], []);
        });
        return m.append("for", [m.int(0), m.int(3), m.int(1), m.one("arange", [], { start: 2, n })], {}, [row], [body]).results;
      }),
    );
  return out;
}

/** A random program on exact (integer) arithmetic. */
function randomProgram(): Case {
  const sizes = [1, 2, 3, 8, 16, 17, 48, 130];
  const shapeOf = (): number[] =>
    Array.from({ length: r.int(0, 3) }, () => r.pick(sizes)).filter((_, i, s) => elements(s.slice(0, i + 1)) <= 9000);
  const base = [shapeOf(), shapeOf()];
  return one(
    `random`,
    base.map((s) => ["i32", elements(s)] as [DType, number]),
    (m, params) => {
      const pool: Value[] = base.map((s, i) => m.loadTile(params[i], s));
      pool.push(m.one("programId", [], { axis: 0 }), m.one("arange", [], { start: r.int(-3, 3), n: r.pick(sizes) }));
      const int = (): Value => r.pick(pool.filter((v) => v.type.dtype === "i32"));
      const step = (depth: number): Value | undefined => {
        const x = int();
        const s = x.type.shape;
        switch (r.int(0, 12)) {
          case 0:
          case 1:
          case 2: {
            const y = r.pick(pool.filter((v) => v.type.dtype === "i32" && broadcastShapes(v.type.shape, s)));
            const to = broadcastShapes(y.type.shape, s)!;
            if (elements(to) > 9000) return undefined;
            return m.one(r.pick(["add", "sub", "mul", "min", "max", "and", "or", "xor", "div", "rem", "shl", "shr"]), [
              m.broadcast(x, to),
              m.broadcast(y, to),
            ]);
          }
          case 3:
            return m.one(r.pick(["neg", "abs", "not"]), [x]);
          case 4:
            return s.length
              ? m.one("reduce", [x], { kind: r.pick(["sum", "max", "min", "argmax", "argmin"]), axis: r.int(0, s.length - 1) })
              : undefined;
          case 5:
            return s.length === 2 ? m.one("transpose", [x]) : m.one("reshape", [x], { shape: [1, ...s, 1] });
          case 6: {
            const n = elements(s);
            const k = r.pick([1, 2, 3, 8, n].filter((d) => n % d === 0));
            return m.one("reshape", [x], { shape: [k, n / k] });
          }
          case 7: {
            if (!s.length) return undefined;
            const axis = r.int(0, s.length - 1);
            const start = r.int(0, s[axis] - 1);
            return m.one("slice", [x], { axis, start, size: r.int(1, s[axis] - start) });
          }
          case 8:
            return s.length && elements(s) < 4000 ? m.one("cat", [x, r.next() < 0.5 ? x : m.one("neg", [x])]) : undefined;
          case 9:
            return s.length ? m.one("extract", [x], { index: s.map((n) => r.int(0, n - 1)) }) : undefined;
          case 10: {
            const c = m.one(r.pick(["lt", "ge", "eq"]), [x, m.broadcast(m.int(r.int(-5, 20)), s)]);
            return m.one("select", [c, x, m.one("add", [x, m.broadcast(m.int(1), s)])]);
          }
          case 11: {
            // Read memory at computed places.
            const n = elements(base[0]);
            const index = m.one("rem", [m.one("and", [x, m.broadcast(m.int(0x7fffffff), s)]), m.broadcast(m.int(n), s)]);
            return elements(s) < 3000 ? m.one("load", [index], { param: params[0] }) : undefined;
          }
          default: {
            if (depth > 1) return undefined;
            const type = x.type;
            const body = { args: [m.value({ dtype: "i32", shape: [] }), m.value(type)], ops: [] };
            m.within(body, () => {
              const mark = pool.length;
              pool.push(body.args[0], body.args[1]);
              let next = body.args[1];
              for (let i = 0; i < 3; i++) {
                const v = step(depth + 1);
                if (!v) continue;
                pool.push(v);
                const to = broadcastShapes(v.type.shape, type.shape);
                if (to && elements(to) === elements(type.shape) && to.length === type.shape.length && v.type.dtype === "i32")
                  next = m.one("add", [next, m.broadcast(v, type.shape)]);
              }
              pool.length = mark;
              m.append("yield", [next], {}, [], []);
            });
            return m.append("for", [m.int(0), m.int(r.int(0, 4)), m.int(r.int(1, 2)), x], {}, [type], [body]).results[0];
          }
        }
      };
      for (let i = 0; i < 14; i++) {
        const v = step(0);
        if (v) pool.push(v);
      }
      return pool.slice(-5);
    },
  );
}

const GROUPS: [string, () => Case[]][] = [
  ["reductions", reductions],
  ["products", products],
  ["memory forms", memoryForms],
  ["control flow", control],
  ["random programs", () => Array.from({ length: Number(process.env.ALLOY_TEST_PROGRAMS ?? 60) }, randomProgram)],
];
/** By group. Their inputs are drawn from the test's seed. */
export const SHAPE_CASES = GROUPS.map(([name, f]) => [name, f()] as const);
