/** Runs MSL text on typed arrays, straight through the executor: no shim, no fake Metal. For tests of emitted text. */
import { CString, dlopen, ptr } from "bun:ffi";
import type { Pointer } from "bun:ffi";
import { metalExecutor } from "./build.ts";

/** What the checker found. `line` counts from 1 in the text, 0 where it is not known. */
export interface Finding {
  kind: string;
  text: string;
  kernel: string;
  label: string;
  line: number;
  thread: [number, number, number];
  group: [number, number, number];
}

type Bytes = NodeJS.TypedArray | DataView;
type Triple = readonly [number, number?, number?] | number;

export interface Dispatch {
  kernel: string;
  /** By [[buffer(index)]]: kernels read and write the arrays themselves. null: an argument that is not bound. */
  buffers: readonly (Bytes | null)[] | Readonly<Record<number, Bytes | null>>;
  /** Indices of buffers that no kernel may write. */
  readOnly?: readonly number[];
  /** Threadgroups, or threads when `exact`. Axes that are left out count 1. */
  grid: Triple;
  /** Threads per threadgroup. */
  threads: Triple;
  /** `grid` counts threads (dispatchThreads). */
  exact?: boolean;
  /** Bytes of threadgroup memory by [[threadgroup(index)]]. */
  threadgroup?: readonly number[];
  /** Values of function constants by name. */
  constants?: Readonly<Record<string, number | boolean>>;
  label?: string;
}

/** "checked", "fast", "unoptimised", "order=reverse", "order=7", "contract=on": see runtime/abi.h. */
export type Mode = string;

/** Several dispatches that run as a concurrent encoder's: what collides without a barrier between is a finding. */
export interface Pass {
  dispatch(d: Dispatch): void;
  barrier(): void;
  /** Findings of all dispatches. Throws when one could not run at all, in words like Metal's API validation. */
  end(): Finding[];
}

export interface Library {
  readonly kernels: readonly string[];
  /** Runs one dispatch; the findings, none when all is well. Throws when it cannot run at all. */
  run(d: Dispatch): Finding[];
  pass(label?: string): Pass;
  release(): void;
}

const SYMBOLS = {
  mh_library_compile: { args: ["ptr", "u64", "ptr", "u64"], returns: "ptr" },
  mh_library_release: { args: ["ptr"], returns: "void" },
  mh_library_kernel: { args: ["ptr", "u32"], returns: "ptr" },
  mh_function_find: { args: ["ptr", "ptr"], returns: "ptr" },
  mh_function_constant: { args: ["ptr", "u32", "ptr"], returns: "i32" },
  mh_pipeline_create: { args: ["ptr", "ptr", "u32", "ptr", "u64"], returns: "ptr" },
  mh_pipeline_release: { args: ["ptr"], returns: "void" },
  mh_pass_begin: { args: ["ptr"], returns: "ptr" },
  mh_pass_dispatch: { args: ["ptr", "ptr", "ptr", "u64"], returns: "i32" },
  mh_pass_barrier: { args: ["ptr"], returns: "void" },
  mh_pass_end: { args: ["ptr"], returns: "void" },
  mh_findings_take: { args: ["ptr", "u64"], returns: "u64" },
  mh_configure: { args: ["ptr", "ptr", "u64"], returns: "i32" },
} as const;

type Handle = number;
type Array = Uint8Array | null;

/** The functions of runtime/abi.h that are used here; handles are addresses, 0 for none. */
interface Host {
  mh_library_compile(text: Array, length: number, error: Array, size: number): Handle;
  mh_library_release(library: Handle): void;
  mh_library_kernel(library: Handle, i: number): Handle;
  mh_function_find(library: Handle, name: Array): Handle;
  mh_function_constant(f: Handle, i: number, out: Array): number;
  mh_pipeline_create(f: Handle, values: Array, count: number, error: Array, size: number): Handle;
  mh_pipeline_release(pipeline: Handle): void;
  mh_pass_begin(label: Array): Handle;
  mh_pass_dispatch(pass: Handle, dispatch: Array, error: Array, size: number): number;
  mh_pass_barrier(pass: Handle): void;
  mh_pass_end(pass: Handle): void;
  mh_findings_take(out: Array, size: number): number;
  mh_configure(words: Array, error: Array, size: number): number;
}

let host: Host | undefined;

function symbols(): Host {
  if (host) return host;
  const built = metalExecutor();
  if (!built.available) throw new Error(built.why);
  return (host = dlopen(built.host, SYMBOLS).symbols as unknown as Host);
}

const text = (s: string): Uint8Array => Buffer.from(`${s}\0`);
const error = Buffer.alloc(64 << 10);
const said = (): string => error.toString("utf8", 0, error.indexOf(0));

/** All findings of this process since they were last taken. */
export function takeFindings(): Finding[] {
  const h = symbols();
  const out = Buffer.alloc(Number(h.mh_findings_take(null, 0)));
  h.mh_findings_take(out, out.length);
  return JSON.parse(out.toString("utf8", 0, out.indexOf(0))) as Finding[];
}

/** How texts are compiled and run from now on, in this process. */
export function configure(mode: Mode): void {
  if (!symbols().mh_configure(text(mode), error, error.length)) throw new Error(said());
}

/** Compiles a text. Throws an Error with the compiler's words: "program_source:12:7: error: ...". */
export function compile(msl: string, mode?: Mode): Library {
  if (mode !== undefined) configure(mode);
  const h = symbols();
  const bytes = Buffer.from(msl || " ");
  const library = h.mh_library_compile(bytes, bytes.length, error, error.length);
  if (!library) throw new Error(said());
  return new HostLibrary(library);
}

const triple = (t: Triple): [number, number, number] => (typeof t === "number" ? [t, 1, 1] : [t[0], t[1] ?? 1, t[2] ?? 1]);
/** An array without bytes has no address, but is bound. */
const nothing = new Uint8Array(64);

class HostLibrary implements Library {
  readonly kernels: readonly string[];
  private readonly pipelines = new Map<string, Handle>();

  constructor(private readonly handle: Handle) {
    const names: string[] = [];
    for (let i = 0; ; i++) {
      const name = symbols().mh_library_kernel(handle, i);
      if (!name) break;
      names.push(new CString(name as Pointer).toString());
    }
    this.kernels = names;
  }

  run(d: Dispatch): Finding[] {
    const pass = this.pass();
    pass.dispatch(d);
    return pass.end();
  }

  pass(label = ""): Pass {
    const h = symbols();
    takeFindings();
    const handle = h.mh_pass_begin(text(label));
    let invalid = "";
    return {
      dispatch: (d) => {
        const words = this.encode(d);
        if (h.mh_pass_dispatch(handle, words.dispatch, error, error.length) === 1) invalid ||= said();
      },
      barrier: () => h.mh_pass_barrier(handle),
      end: () => {
        h.mh_pass_end(handle);
        if (invalid) throw new Error(invalid);
        return takeFindings();
      },
    };
  }

  release(): void {
    for (const p of this.pipelines.values()) symbols().mh_pipeline_release(p);
    symbols().mh_library_release(this.handle);
  }

  /** The dispatch as the C struct; what it points to is returned too, so that it lives as long. */
  private encode(d: Dispatch): { dispatch: Uint8Array; keep: unknown[] } {
    const entries = Object.entries(d.buffers).map(([i, b]) => [Number(i), b as Bytes | null] as const);
    const bindings = new DataView(new ArrayBuffer(Math.max(24, entries.length * 24)));
    entries.forEach(([index, buffer], i) => {
      bindings.setUint32(i * 24, index, true);
      bindings.setUint32(i * 24 + 4, d.readOnly?.includes(index) ? 0 : 1, true);
      bindings.setBigUint64(i * 24 + 8, buffer ? BigInt(ptr(buffer.byteLength ? buffer : nothing)) : 0n, true);
      bindings.setBigUint64(i * 24 + 16, BigInt(buffer?.byteLength ?? 0), true);
    });
    const lengths = Uint32Array.from(d.threadgroup?.length ? d.threadgroup : [0]);
    const label = text(d.label ?? "");
    const out = new DataView(new ArrayBuffer(72));
    out.setBigUint64(0, BigInt(this.pipeline(d)), true);
    out.setBigUint64(8, d.label ? BigInt(ptr(label)) : 0n, true);
    out.setBigUint64(16, BigInt(ptr(bindings)), true);
    out.setUint32(24, entries.length, true);
    out.setBigUint64(32, BigInt(ptr(lengths)), true);
    out.setUint32(40, d.threadgroup?.length ?? 0, true);
    out.setUint32(44, d.exact ? 1 : 0, true);
    triple(d.grid).forEach((n, i) => out.setUint32(48 + 4 * i, n, true));
    triple(d.threads).forEach((n, i) => out.setUint32(60 + 4 * i, n, true));
    return { dispatch: new Uint8Array(out.buffer), keep: [bindings, lengths, label, entries] };
  }

  private pipeline(d: Dispatch): Handle {
    const key = `${d.kernel} ${JSON.stringify(d.constants ?? {})}`;
    const known = this.pipelines.get(key);
    if (known) return known;
    const h = symbols();
    const f = h.mh_function_find(this.handle, text(d.kernel));
    if (!f) throw new Error(`There is no kernel ${d.kernel}; there are ${this.kernels.join(", ")}`);
    const given = { ...d.constants };
    const values: { index: number; type: number; value: number | boolean }[] = [];
    const row = new DataView(new ArrayBuffer(24));
    for (let i = 0; h.mh_function_constant(f, i, new Uint8Array(row.buffer)); i++) {
      const name = new CString(Number(row.getBigUint64(0, true)) as Pointer).toString();
      const value = given[name];
      delete given[name];
      if (value !== undefined) values.push({ index: row.getUint32(8, true), type: row.getUint32(12, true), value });
    }
    const unknown = Object.keys(given);
    if (unknown.length) throw new Error(`${d.kernel} has no function constant ${unknown.join(", ")}`);
    const packed = new DataView(new ArrayBuffer(Math.max(16, 16 * values.length)));
    values.forEach(({ index, type, value }, i) => {
      packed.setUint32(16 * i, index, true);
      packed.setUint32(16 * i + 4, type, true);
      const FLOAT = 3;
      if (type === FLOAT) packed.setFloat32(16 * i + 8, Number(value), true);
      else packed.setBigInt64(16 * i + 8, BigInt(value), true);
    });
    const pipeline = h.mh_pipeline_create(f, new Uint8Array(packed.buffer), values.length, error, error.length);
    if (!pipeline) throw new Error(said());
    this.pipelines.set(key, pipeline);
    return pipeline;
  }
}
