/* The view of tiers. */

import { badge, byId, empty, facts, make, say, sync } from "./elements.js";
import { service, SHOWN_SECONDS } from "./service.js";
import { tiersOf } from "./traffic.js";
import { bytes, count, percent, rate, seconds } from "./units.js";
import { recent, RECENT_SECONDS } from "./windows.js";

const STATES = { closed: ["good", "works"], "half-open": ["odd", "being tried again"], open: ["bad", "left out: it fails"] };

function tierCard(key) {
  const [store, tier] = JSON.parse(key);
  const state = make("span", { className: "badge plain" });
  const values = facts(["Look-ups", "Hits", "Median", "99 of 100 within", "Late", "Invalid", "Failed", "Left out", "Written", "Not written"]);
  const memory = make("meter", { min: 0, max: 1, ariaLabel: `memory of ${store} in use`, hidden: true });
  const room = make("p", { className: "hint" });
  const problem = make("p", { className: "problem" });
  const node = make("article", { className: "card" },
    make("div", { className: "head" }, make("h3", {}, `${store} · ${tier}`), state), values, memory, room, problem);
  node.show = () => {
    const detail = service.state.tiers?.[store]?.[tier] || {};
    const isBroken = detail.problem && !detail.state;
    badge(state, ...STATES[isBroken ? "open" : detail.state || "closed"]);
    showTier(values, store, tier);
    const held = service.state.datastores[store]?.[tier];
    room.hidden = !held;
    memory.hidden = !held?.size_bytes;
    if (held) say(room, heldBy(held));
    if (held?.size_bytes) memory.value = held.bytes / held.size_bytes;
    const skipped = detail.skipped_by ? `${detail.skipped_by.join(", ")} does without it: a run costs less` : "";
    const said = [detail.problem, detail.writes && `writes: ${detail.writes}`, skipped].filter(Boolean).join("; ");
    problem.hidden = !said;
    problem.className = detail.problem || detail.writes ? "problem" : "hint";
    say(problem, said);
  };
  return node;
}

/** Return what a tier holds, in words. */
function heldBy(held) {
  if (held.problem) return `How much it holds is not known: ${held.problem}`;
  const room = held.size_bytes ? `${bytes(held.bytes)} of ${bytes(held.size_bytes)}` : bytes(held.bytes);
  return "evicted_entries" in held
    ? `${room}, ${count(held.entries)} keys, those of others included; ${count(held.evicted_entries)} were evicted`
    : `${room}, about ${count(held.entries)} answers; ${bytes(held.overwritten_bytes_per_second)} a second are overwritten by newer ones`;
}

function showTier(values, store, tier) {
  const now = recent(RECENT_SECONDS);
  const long = recent(SHOWN_SECONDS);
  if (!now) return;
  values.set("Look-ups", rate(now.tier(store, tier, "lookups") / now.seconds));
  values.set("Hits", percent(now.hitRate(store, tier)));
  values.set("Median", seconds(now.lookupSeconds(store, tier, 0.5)));
  values.set("99 of 100 within", seconds(now.lookupSeconds(store, tier, 0.99)));
  const outcomes = { Late: "late", Invalid: "bad", Failed: "failed", "Left out": "skipped" };
  for (const [name, outcome] of Object.entries(outcomes)) values.set(name, count(long.tier(store, tier, "lookups", [outcome])));
  values.set("Written", count(long.tier(store, tier, "writes", ["written"])));
  values.set("Not written", count(long.tier(store, tier, "writes", ["dropped", "failed"])));
}

export function showTiers() {
  const tiers = tiersOf(Object.keys(service.state.now.tiers));
  if (!tiers.length) empty(byId("tiers-list"), "No datastores: nothing is cached. The section datastores of the config has them.");
  else sync(byId("tiers-list"), tiers, ([store, tier]) => JSON.stringify([store, tier]), tierCard);
}
