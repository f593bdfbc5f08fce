import { expect, test } from "bun:test";
import { StopMatcher } from "../../src/chat/stop.ts";
import { pieces, random, seed } from "./helpers.ts";

/** All at once: the text before the stop string that is complete first (the longest of those), and that stop string. */
function reference(text: string, stops: string[]): { text: string; stopped?: string } {
  for (let end = 1; end <= text.length; end++) {
    const hits = stops.filter((s) => s !== "" && text.slice(0, end).endsWith(s));
    if (hits.length > 0) {
      const stopped = hits.reduce((a, b) => (b.length > a.length ? b : a));
      return { text: text.slice(0, end - stopped.length), stopped };
    }
  }
  return { text };
}

function run(parts: string[], stops: string[]): { text: string; stopped?: string } {
  const m = new StopMatcher(stops);
  let text = "";
  for (const p of parts) {
    const r = m.push(p);
    text += r.text;
    if (r.stopped !== undefined) return { text, stopped: r.stopped };
  }
  return { text: text + m.flush() };
}

test("holds back what may become a stop string, and no more", () => {
  const m = new StopMatcher(["<end>"]);
  expect(m.push("Hello <e")).toEqual({ text: "Hello " });
  expect(m.push("m> <")).toEqual({ text: "<em> " });
  expect(m.push("end>rest")).toEqual({ text: "", stopped: "<end>" });
  expect(m.push("more")).toEqual({ text: "" });
  expect(m.flush()).toBe("");
});

test("flush gives what was held back", () => {
  const m = new StopMatcher(["###"]);
  expect(m.push("a##").text).toBe("a");
  expect(m.flush()).toBe("##");
});

test("without stop strings text passes through; empty ones are ignored", () => {
  expect(new StopMatcher([]).push("abc")).toEqual({ text: "abc" });
  expect(new StopMatcher([""]).push("abc")).toEqual({ text: "abc" });
});

test("however the text is cut, the outcome is that of the whole text", () => {
  const next = random(seed("stop strings"));
  for (let n = 0; n < 2000; n++) {
    const word = (longest: number) =>
      Array.from({ length: 1 + Math.floor(next() * longest) }, () => "abé\n"[Math.floor(next() * 4)]).join("");
    const stops = Array.from({ length: Math.floor(next() * 4) }, () => word(4));
    const text = word(40);
    expect({ text, stops, got: run(pieces(text, next, 5), stops) }).toEqual({ text, stops, got: reference(text, stops) });
  }
});
