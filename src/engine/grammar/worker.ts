/** A worker that compiles grammars and keeps positions in them. `build.ts` lists this file, as every worker's. */
import type { FromGrammars, ToGrammars } from "./messages.ts";
import { GrammarCompiler, limitMemory, type Matcher, memoryBytes } from "./xgrammar.ts";

const scope = globalThis as unknown as {
  postMessage(message: FromGrammars, transfer?: ArrayBuffer[]): void;
  onmessage: (event: MessageEvent<ToGrammars>) => void;
};
const post = (message: FromGrammars): void => scope.postMessage(message);
const matchers = new Map<number, Matcher>();
let compiler: GrammarCompiler;

async function handle(message: ToGrammars): Promise<void> {
  switch (message.type) {
    case "open":
      await limitMemory(message.memory);
      compiler = new GrammarCompiler(message.vocabulary);
      await compiler.prepare();
      return post({ type: "ready" });
    case "compile":
      try {
        (await compiler.matcher(message.ebnf)).free();
        post({ type: "compiled", bytes: memoryBytes() });
      } catch (e) {
        post({ type: "failed", message: (e as Error).message });
      }
      return;
    case "match":
      return follow(message.matcher, async () => {
        matchers.set(message.matcher, await compiler.matcher(message.ebnf));
      });
    case "accept":
      return follow(message.matcher, () => {
        const matcher = matchers.get(message.matcher)!;
        const wrong = message.tokens.find((token) => !matcher.accept(token));
        if (wrong !== undefined) throw new Error(`token ${wrong} does not follow the grammar that it was drawn under`);
      });
    case "free":
      matchers.get(message.matcher)?.free();
      matchers.delete(message.matcher);
  }
}

/** Does something to a matcher and tells where it is then. */
async function follow(id: number, work: () => void | Promise<void>): Promise<void> {
  try {
    await work();
    const matcher = matchers.get(id)!;
    const mask = await matcher.mask();
    const state: FromGrammars = { type: "state", matcher: id, mask, forced: matcher.forced() };
    scope.postMessage(state, [mask.buffer as ArrayBuffer]);
  } catch (e) {
    post({ type: "lost", matcher: id, message: (e as Error).message });
  }
}

let turn = Promise.resolve();
scope.onmessage = ({ data }) => {
  turn = turn.then(() => handle(data));
};
