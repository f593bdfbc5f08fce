/** Tells the log when the engine dies and when it is up again, whether anybody asks it something or not. */
import type { Engine } from "../engine/api.ts";
import type { Logger } from "./log.ts";

/** The result ends it. An engine that cannot die alone is not watched. */
export function watchEngine(engine: Engine, log: Logger, everyMs = 1000): () => void {
  if (!engine.health) return () => {};
  let seen = engine.health();
  const timer = setInterval(() => {
    const now = engine.health!();
    if (now.restarts > seen.restarts) log.log("error", "the engine died", { why: now.lastDeath?.why.slice(0, 200), deaths: now.restarts });
    if (now.state !== seen.state || now.restarts > seen.restarts) {
      if (now.state === "up") log.log("info", "the engine is up again", { pid: now.pid });
      else if (now.state === "down") log.log("error", "the engine does not stay up; the next request starts it");
    }
    seen = now;
  }, everyMs);
  timer.unref();
  return () => clearInterval(timer);
}
