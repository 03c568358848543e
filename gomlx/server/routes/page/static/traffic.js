/* The view of traffic. */

import { Chart } from "./chart.js";
import { facts } from "./elements.js";
import { chosen, service } from "./service.js";
import { count, known, percent, rate, seconds } from "./units.js";
import { recent, RECENT_SECONDS, sum, windows } from "./windows.js";

const formatted = (format, least) => Object.assign((value) => format(value), { least });
export const charts = {
  hits: new Chart("Hit rate by tier", formatted(percent, 1), 100),
  requests: new Chart("Requests", formatted(rate, 1)),
  latency: new Chart("Time to answer", formatted(seconds, 1e-4)),
  queue: new Chart("Rows that wait for a run", formatted(count, 4)),
};
export const figures = facts(["Requests", "Refused", "Hit rate", "Median", "99 of 100 within", "Waiting rows"], "figures");

/** Return the tiers of some datastores: [store, tier, name to show]. */
export function tiersOf(stores) {
  const tiers = service.state.now.tiers;
  const wanted = Object.keys(tiers).filter((store) => stores.includes(store));
  return wanted.flatMap((store) => Object.keys(tiers[store]).map((tier) =>
    [store, tier, wanted.length > 1 ? `${store} ${tier}` : tier]));
}

export function showTraffic() {
  const models = chosen("traffic-model", true);
  const stores = models.map((name) => service.state.models[name]?.datastore).filter(known);
  const tiers = tiersOf(stores);
  showFigures(models, tiers);
  const all = windows();
  const times = all.map((window) => window.after.time);
  const chart = (one, series) => one.show(
    series.map(([name]) => name), [times, ...series.map(([, value]) => all.map(value))]);
  chart(charts.hits, tiers.map(([store, tier, name]) => [name, (w) => w.hitRate(store, tier)]));
  chart(charts.requests, [
    ["answered", (w) => w.answered(models) / w.seconds],
    ["refused", (w) => w.refused(models) / w.seconds],
  ]);
  chart(charts.latency, [
    ["median", (w) => w.latency(models, 0.5)],
    ["99 of 100", (w) => w.latency(models, 0.99)],
  ]);
  chart(charts.queue, [["rows", (w) => w.queued(models)]]);
}

function showFigures(models, tiers) {
  const window = recent(RECENT_SECONDS);
  if (!window) return;
  figures.set("Requests", rate(window.answered(models) / window.seconds));
  figures.set("Refused", rate(window.refused(models) / window.seconds));
  figures.set("Hit rate", percent(hitRateOf(window, tiers)));
  figures.set("Median", seconds(window.latency(models, 0.5)));
  figures.set("99 of 100 within", seconds(window.latency(models, 0.99)));
  figures.set("Waiting rows", count(window.queued(models)));
}

/** The share of rows that any tier had: those looked up in a datastore's first tier. */
function hitRateOf(window, tiers) {
  const firsts = tiers.filter(([store], i) => tiers.findIndex((one) => one[0] === store) === i);
  const rows = sum(firsts.map(([store, tier]) => window.tier(store, tier, "lookups")));
  const hits = sum(tiers.map(([store, tier]) => window.tier(store, tier, "lookups", ["hit"])));
  return rows ? (100 * hits) / rows : null;
}
