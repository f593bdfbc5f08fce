/** Which responses are kept, and for how long. */
import { expect, test } from "bun:test";
import { ResponseStore, type StoredResponse } from "../../src/server/dialects/openai/responses/store.ts";

const stored = (size = 1): StoredResponse => ({ response: {}, input: [], history: [], output: [], size });

test("a thousand at most: the one that was used longest ago goes", () => {
  const store = new ResponseStore();
  for (let i = 0; i < 1000; i++) store.put(`r${i}`, stored());
  expect(store.get("r0")).toBeDefined();
  store.put("one more", stored());
  expect(store.get("r0")).toBeDefined();
  expect(store.get("r1")).toBeUndefined();
  expect(store.get("one more")).toBeDefined();
});

test("64 MiB at most, and nothing that is larger by itself", () => {
  const store = new ResponseStore();
  for (const id of ["a", "b", "c"]) store.put(id, stored(30 * 2 ** 20));
  expect(["a", "b", "c"].map((id) => store.get(id) !== undefined)).toEqual([false, true, true]);
  store.put("huge", stored(65 * 2 ** 20));
  expect(store.get("huge")).toBeUndefined();
  store.put("d", stored());
  expect(store.get("d")).toBeDefined();
});

test("an hour, and what is deleted gives its room back", () => {
  let now = 0;
  const store = new ResponseStore(() => now);
  store.put("old", stored(60 * 2 ** 20));
  now = 3_599_999;
  expect(store.get("old")).toBeDefined();
  now++;
  expect(store.get("old")).toBeUndefined();
  store.put("a", stored(60 * 2 ** 20));
  expect(store.delete("a")).toBe(true);
  expect(store.delete("a")).toBe(false);
  store.put("b", stored(60 * 2 ** 20));
  store.put("c", stored(2 ** 20));
  expect(store.get("b")).toBeDefined();
});

test("an output item is found by its own id for as long as its response is kept", () => {
  const store = new ResponseStore();
  const item = { id: "msg_1", type: "message" };
  store.put("r", { ...stored(), output: [{ type: "reasoning" }, item] });
  expect(store.item("msg_1")).toBe(item);
  expect(store.item("msg_2")).toBeUndefined();
  store.delete("r");
  expect(store.item("msg_1")).toBeUndefined();
});
