/** The text of a group's elementwise work as helpers of the kernel language, and the operands that they read. */
import { DTYPES } from "../compiler/language/signature.ts";
import type { Helper, Signature, Uses } from "../compiler/language/index.ts";
import { dim, f32, helperFromText, i32, ptr, scalar } from "../compiler/language/index.ts";
import { isLeaf, type Vertex } from "./fuse.ts";
import type { Axis } from "./shapes.ts";
import { axesIn, elementsOf, joinAxes, type Shape } from "./shapes.ts";

/** A value for each parameter: memory of a vertex, or a number. */
export type Given = Vertex | number;

/** A shape as kernels see it: rows × columns, for each operand the axes that the rows are made of, and whether the columns move it. */
export interface View {
  rows: number;
  columns: number;
  of(shape: Shape): { rows: Axis[]; column: 0 | 1 };
}

/** All axes but the last are rows. */
export function rowView(whole: Shape): View {
  const columns = whole.at(-1) ?? 1;
  const lead = whole.slice(0, -1);
  return {
    rows: elementsOf(lead),
    columns,
    of(shape) {
      const axes = axesIn(shape, whole);
      const last = axes.at(-1);
      return { rows: joinAxes([axes.slice(0, -1)])[0].filter((a) => a.size !== 1), column: last && last.stride !== 0 ? 1 : 0 };
    },
  };
}

/** As few rows as the operands allow: axes that all of them walk alike are columns together. */
export function flatView(whole: Shape, operands: readonly Shape[]): View {
  const [joined] = joinAxes([axesIn(whole, whole), ...operands.map((s) => axesIn(s, whole))]);
  const shape = joined.map((a) => a.size);
  const inner = rowView(shape);
  return {
    ...inner,
    of(operand) {
      const [, own] = joinAxes([axesIn(whole, whole), axesIn(operand, whole), ...operands.map((s) => axesIn(s, whole))]);
      return { rows: joinAxes([own.slice(0, -1)])[0], column: own.length && own.at(-1)!.stride !== 0 ? 1 : 0 };
    },
  };
}

/** Collects the operands of one kernel. Equal work gives equal texts: sizes and strides are parameters. */
export class Expressions {
  readonly params: Record<string, Signature[string]> = {};
  readonly given: Record<string, Given> = {};
  readonly texts: string[] = [];
  readonly helpers: Helper[] = [];
  private readonly names = new Map<Vertex, string>();

  /** `(p, row, col, inside) => value of root`, or `(p, v, row, col, inside) => …` where v is the anchor's value. */
  section(root: Vertex, members: ReadonlySet<Vertex>, view: View, anchor?: Vertex): Helper {
    const lines: string[] = [];
    const uses: Record<string, Helper> = {};
    const values = new Map<Vertex, string>(anchor ? [[anchor, "v"]] : []);
    const stack: Vertex[] = [root];
    while (stack.length) {
      const v = stack.at(-1)!;
      if (values.has(v)) stack.pop();
      else if (members.has(v)) {
        const missing = v.inputs.filter((i) => !values.has(i));
        if (missing.length) stack.push(...missing);
        else {
          const name = `t${values.size}`;
          lines.push(
            `const ${name} = ${this.apply(
              v,
              v.inputs.map((i) => values.get(i)!),
              uses,
            )};`,
          );
          values.set(v, name);
        }
      } else values.set(v, this.read(v, view, lines));
    }
    const params = anchor ? "al, p, v, row, col, inside" : "al, p, row, col, inside";
    return this.helper(`(${params}) => {\n${lines.map((l) => `  ${l}\n`).join("")}  return ${values.get(root)};\n}`, uses);
  }

  /** `(p, batch) => elements before matrix number batch` of an operand of `shape`, inside batches of the shape `whole`. */
  start(shape: Shape, whole: Shape, name: string): Helper {
    const batches = joinAxes([axesIn(shape.slice(0, -2), whole)])[0].map((a) => ({ ...a, stride: a.stride * elementsOf(shape.slice(-2)) }));
    return this.helper(`(al, p, batch) => ${this.offset(batches, "batch", name)}`, {});
  }

  private helper(text: string, uses: Uses): Helper {
    const helper = helperFromText(text, uses);
    this.texts.push(text);
    this.helpers.push(helper);
    return helper;
  }

  private apply(v: Vertex, args: readonly string[], uses: Record<string, Helper>): string {
    const { op, dtype } = v.node;
    if (op.kind !== "pointwise") throw new Error(`${op.kind} is no elementwise operation`);
    if (!op.fn) return `al.cast(${args[0]}, al.${dtype})`;
    let name = op.name;
    for (let n = 2; uses[name] !== undefined && uses[name] !== op.fn; n++) name = `${op.name}${n}`;
    uses[name] = op.fn;
    return `${name}(${args.join(", ")})`;
  }

  /** The text of an operand's elements; half floats are widened. */
  private read(v: Vertex, view: View, lines: string[]): string {
    const { op, dtype, shape } = v.node;
    if (op.kind === "number" && isLeaf(v)) {
      const name = this.parameter(v, "s", scalar(dtype === "i32" ? i32 : f32), op.value);
      return `p.${name}`;
    }
    const { rows, column } = view.of(shape);
    const known = this.names.get(v);
    const name = this.parameter(v, "x", ptr(DTYPES[dtype]), v);
    // The same operand may be read in another shape's terms, before and behind an anchor.
    const offset = this.offset(rows, "row", known ? `${name}_again${this.texts.length}` : name);
    const at = [`p.${name}`, ...(offset === "0" ? [] : [offset]), ...(column ? ["col"] : [])].join(" + ");
    const load = column ? `al.load(${at}, { mask: inside })` : `al.load(${at})`;
    const value = `${name}_${lines.length}`;
    lines.push(`const ${value} = ${dtype === "f16" || dtype === "bf16" ? `al.cast(${load}, al.f32)` : load};`);
    return value;
  }

  private parameter(v: Vertex, prefix: string, spec: Signature[string], given: Given): string {
    let name = this.names.get(v);
    if (name === undefined) {
      name = `${prefix}${this.names.size}`;
      this.names.set(v, name);
      this.params[name] = spec;
      this.given[name] = given;
    }
    return name;
  }

  /** Elements from the operand's beginning to what `index` counts along the axes together. */
  private offset(axes: readonly Axis[], index: string, name: string): string {
    const size = (what: string, value: number): string => {
      this.params[`${name}_${what}`] = dim;
      this.given[`${name}_${what}`] = value;
      return `p.${name}_${what}`;
    };
    let rest = index;
    const terms: string[] = [];
    for (let i = axes.length - 1; i >= 0; i--) {
      const { size: n, stride } = axes[i];
      const first = axes.slice(0, i).every((a) => a.stride === 0);
      const count = i === 0 ? rest : first && stride === 0 ? "" : `(${rest}) % ${size(`n${i}`, n)}`;
      if (stride !== 0) terms.push(`(${count}) * ${size(`s${i}`, stride)}`);
      if (first) break;
      rest = `al.idiv(${rest}, p.${name}_n${i})`;
    }
    return terms.length ? terms.join(" + ") : "0";
  }
}
