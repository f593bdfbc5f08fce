/** Programs of a Metal device: their texts are compiled together when a plan first needs them, one library for all that are missing. */
import { AlloyError } from "../../support/errors.ts";
import type { MetalProgram, ParamKind, Program, ProgramSource } from "../device.ts";
import type { PipelineFacts, Shim } from "./shim.ts";

/** What every library text begins with. */
export const METAL_HEADER = "#include <metal_stdlib>\nusing namespace metal;\n";

export class MetalKernel implements Program {
  private made: MetalProgram | undefined;
  pipeline: PipelineFacts | undefined;

  constructor(private readonly source: ProgramSource) {}

  get symbol(): string {
    return this.source.symbol;
  }

  get params(): readonly ParamKind[] {
    return this.source.params;
  }

  /** Throws `kernel_error` for a kernel that cannot be expressed in Metal. */
  get metal(): MetalProgram {
    if (!this.source.metal) {
      throw new AlloyError("device_error", `Program ${this.symbol} has no text for Metal`, {
        hint: "It was made from C: use --device cpu.",
      });
    }
    return (this.made ??= this.source.metal());
  }
}

export class Programs {
  private readonly known = new Map<string, MetalKernel>();
  /** By name of a function: the library that holds it. Programs that differ in function constants only share one. */
  private readonly libraries = new Map<string, number>();

  constructor(private readonly shim: Shim) {}

  get(source: ProgramSource): MetalKernel {
    let program = this.known.get(source.symbol);
    if (!program) this.known.set(source.symbol, (program = new MetalKernel(source)));
    return program;
  }

  /** Makes the pipelines that are missing. Returns how many the compiler, rather than the archive, had to make. */
  load(programs: readonly MetalKernel[]): number {
    const missing = [...new Set(programs)].filter((p) => !p.pipeline);
    if (!missing.length) return 0;
    const fresh = new Map(missing.filter((p) => !this.libraries.has(p.metal.entry)).map((p) => [p.metal.entry, p.metal]));
    // Every text numbers its function constants from 0.
    const { alone = [], together = [] } = Object.groupBy(fresh.values(), (m) => (m.constants.length ? "alone" : "together"));
    for (const group of [together, ...alone.map((m) => [m])]) this.compile(group);
    let compiled = 0;
    for (const p of missing) {
      const { entry, constants, threads } = p.metal;
      const pipeline = this.shim.pipeline(this.libraries.get(entry)!, entry, constants);
      const wanted = threads[0] * threads[1] * threads[2];
      if (wanted > pipeline.maxThreads) {
        throw new AlloyError(
          "kernel_error",
          `kernel ${entry} wants threadgroups of ${wanted} threads, this GPU allows ${pipeline.maxThreads}`,
          {
            hint: "Give the kernel fewer threads, or smaller tiles (its registers set the limit).",
          },
        );
      }
      p.pipeline = pipeline;
      if (!pipeline.fromArchive) compiled++;
    }
    return compiled;
  }

  private compile(programs: readonly MetalProgram[]): void {
    if (programs.length === 0) return;
    try {
      const library = this.shim.library(METAL_HEADER + programs.map((m) => m.text).join("\n"));
      for (const { entry } of programs) this.libraries.set(entry, library);
    } catch (error) {
      throw programs.length > 1 ? this.culprit(programs, error) : named(programs[0], error);
    }
  }

  /** Which text of a batch the compiler refuses, with its words about that text alone. */
  private culprit(programs: readonly MetalProgram[], together: unknown): unknown {
    for (const program of programs) {
      try {
        this.shim.freeLibrary(this.shim.library(METAL_HEADER + program.text));
      } catch (error) {
        return named(program, error);
      }
    }
    return together;
  }

  freeAll(): void {
    for (const p of this.known.values()) if (p.pipeline) this.shim.freePipeline(p.pipeline.handle);
    for (const library of new Set(this.libraries.values())) this.shim.freeLibrary(library);
    this.known.clear();
  }
}

function named({ entry }: MetalProgram, error: unknown): AlloyError {
  const { code, message, hint } = AlloyError.from(error);
  return new AlloyError(code, `kernel ${entry}: ${message}`, { hint, cause: error });
}
