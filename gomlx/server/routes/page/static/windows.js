/* What happened between two points of the statistics. */

import { service } from "./service.js";
import { known } from "./units.js";

export const RECENT_SECONDS = 60;
const SHORTEST_SECONDS = 4;

/** A number that only grows; null if it has not: the service began anew. */
function grown(before, after) {
  const difference = (after || 0) - (before || 0);
  return difference < 0 ? null : difference;
}

export function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

/** What happened from one point to another one, of some models and stores. */
class Window {
  constructor(before, after) {
    this.before = before;
    this.after = after;
    this.seconds = after.time - before.time;
  }

  requests(models, isWanted) {
    return sum(models.flatMap((name) => {
      const codes = this.after.models[name]?.codes || {};
      const old = this.before.models[name]?.codes || {};
      return Object.keys(codes).filter(isWanted).map((code) => grown(old[code], codes[code]) || 0);
    }));
  }

  answered(models) {
    return this.requests(models, (code) => code === "200");
  }

  refused(models) {
    return this.requests(models, (code) => code !== "200");
  }

  latency(models, share) {
    const after = models.map((name) => this.after.models[name]?.seconds || []);
    const before = models.map((name) => this.before.models[name]?.seconds || []);
    return quantile(service.state.bounds.requests, differences(before, after), share);
  }

  queued(models) {
    const rows = models.map((name) => this.after.models[name]?.queue_rows).filter(known);
    return rows.length ? sum(rows) : null;
  }

  tier(store, name, what, outcomes) {
    const counts = this.after.tiers[store]?.[name]?.[what] || {};
    const old = this.before.tiers[store]?.[name]?.[what] || {};
    const wanted = outcomes || Object.keys(counts);
    return sum(wanted.map((outcome) => grown(old[outcome], counts[outcome]) || 0));
  }

  hitRate(store, name) {
    const lookups = this.tier(store, name, "lookups");
    return lookups ? (100 * this.tier(store, name, "lookups", ["hit"])) / lookups : null;
  }

  lookupSeconds(store, name, share) {
    const after = this.after.tiers[store]?.[name]?.seconds || [];
    const before = this.before.tiers[store]?.[name]?.seconds || [];
    return quantile(service.state.bounds.lookups, differences([before], [after]), share);
  }
}

function differences(before, after) {
  const size = Math.max(0, ...after.map((one) => one.length));
  return Array.from({ length: size }, (_, i) =>
    sum(after.map((one, n) => grown(before[n]?.[i], one[i]) || 0)));
}

/** Estimate a quantile from the counts of buckets, as Prometheus does. */
function quantile(bounds, counts, share) {
  const wanted = share * sum(counts);
  if (!wanted) return null;
  let seen = 0;
  for (let i = 0; i < bounds.length; i += 1) {
    if (counts[i] && seen + counts[i] >= wanted) {
      const low = i ? bounds[i - 1] : 0;
      return low + ((bounds[i] - low) * (wanted - seen)) / counts[i];
    }
    seen += counts[i];
  }
  return bounds.at(-1);
}

/** What happened in the last so many seconds, or since the first point. */
export function recent(most) {
  const points = service.points;
  const after = points.at(-1);
  const before = points.findLast((one) => one.time <= after.time - most) || points[0];
  return before === after ? null : new Window(before, after);
}

/** The windows between all points; shorter ones than some seconds become part of the next. */
export function windows() {
  const found = [];
  let [before, ...others] = service.points;
  for (const after of others) {
    if (after.time - before.time >= SHORTEST_SECONDS) {
      found.push(new Window(before, after));
      before = after;
    }
  }
  return found;
}
