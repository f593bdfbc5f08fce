/** A process of its own that loads a model and writes its cache: bun packed-process.ts MODEL FOLDER ROUNDS. Prints what it computed. */
import { createDevice } from "../../src/runtime/index.ts";
import { load } from "./packed-model.ts";

const [path, folder, rounds] = process.argv.slice(2);
const device = createDevice("cpu", { threads: 1 });
const seen = new Set<string>();
for (let i = 0; i < Number(rounds); i++) {
  const one = load(device, path, { folder, limit: 2 ** 30, least: 0 });
  seen.add(one.hashes.join());
  await one.weights.writeCache(() => false);
  one.close();
}
console.log(JSON.stringify([...seen]));
device.close();
