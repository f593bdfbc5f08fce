/** A step of which one plan fails: it ends when everything that it started has ended, and the next step works. */
import { expect, test } from "bun:test";
import { openModel } from "../../src/formats/open.ts";
import { GREEDY } from "../../src/models/evaluate.ts";
import { loadRunner } from "../../src/models/runner.ts";
import type { Device, Plan } from "../../src/runtime/device.ts";
import { createDevice } from "../../src/runtime/index.ts";
import { ggufOf } from "./golden.ts";

test("a failed step leaves nothing running", async () => {
  const cpu = createDevice("cpu", { threads: 2 });
  let [inFlight, submissions, failing] = [0, 0, true];
  // Every plan takes its time; the second of a step is refused at once.
  const slow = (plan: Plan): Plan =>
    Object.assign(Object.create(plan) as Plan, {
      async submit() {
        if (submissions++ === 1 && failing) throw new Error("refused");
        inFlight++;
        await plan.submit();
        await Bun.sleep(30);
        inFlight--;
      },
    });
  const device = Object.assign(Object.create(cpu) as Device, { plan: (...args: Parameters<Device["plan"]>) => slow(cpu.plan(...args)) });
  const runner = await loadRunner(openModel(ggufOf("llama/tiny")), { device, contextLength: 64, kvTokens: 64, precision: "exact" });
  const step = () => {
    submissions = 0;
    const blocks = Int32Array.of(0);
    return runner.step([{ tokens: Int32Array.of(5, 6, 7), start: 0, blocks, outputs: "last", sampling: GREEDY }]);
  };
  await expect(step()).rejects.toThrow("refused");
  expect({ inFlight, started: submissions > 2 }).toEqual({ inFlight: 0, started: true });
  failing = false;
  expect((await step()).tokens).toHaveLength(1);
  runner.close();
  cpu.close();
}, 120_000);
