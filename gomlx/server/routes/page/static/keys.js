/* The view of the key space. */

import { badge, byId, make, say, sync } from "./elements.js";
import { chosen, inspection, service } from "./service.js";
import { count } from "./units.js";

const LEAST_MISSED = 20; // rows, before anything is said of them

function inputCard(name) {
  const kind = make("span", { className: "badge plain" });
  const shape = make("span", { className: "hint" });
  const meter = make("meter", { min: 0, max: 1 });
  const endless = make("div", { className: "bar endless" });
  const size = make("strong");
  const proof = make("p", { className: "hint" });
  const missed = make("p", { className: "hint" });
  const node = make("article", { className: "card" },
    make("div", { className: "head" }, make("h3", {}, name), kind, shape),
    meter, endless, size, proof, missed);
  node.show = (input) => {
    badge(kind, input.distinct === null ? "odd" : "plain", input.kind);
    say(shape, shapeOf(input));
    meter.hidden = input.distinct === null;
    endless.hidden = !meter.hidden;
    meter.value = input.share;
    meter.setAttribute("aria-label", `size of ${name}`);
    say(size, input.distinct === null ? "no bound" : `${count(input.distinct)} value${input.distinct === 1 ? "" : "s"}`);
    say(proof, input.proof);
    missed.hidden = !(input.input in (input.missed?.distinct || {}));
    if (!missed.hidden) say(missed, `${count(inMissed(input))} in ${count(input.missed.rows)} rows that missed lately`);
  };
  return node;
}

function shapeOf(input) {
  const isScalar = input.shape && input.shape.every((size) => size === 1) && input.shape.length < 2;
  const dims = input.shape ? `[${input.shape.map((size) => size ?? "any").join(", ")}]` : "of any shape";
  return [input.dtype, isScalar ? "" : dims, input.form].filter(Boolean).join(", ");
}

export function showKeys() {
  const [name] = chosen("keys-model");
  const found = name && inspection(name);
  const inputs = found?.inputs || [];
  const sample = service.state.models[name]?.missed;
  const missed = sample?.rows >= LEAST_MISSED ? sample : null;
  say(byId("keys-lead"), keysLead(name, found) + (found?.inputs ? costLead(found, missed) : ""));
  say(byId("keys-rows"), found?.inputs ? rowsNote(found) : "");
  const most = Math.log(Math.max(10, ...inputs.map((one) => one.distinct || 0)));
  const sized = inputs.map((one) => ({ ...one, share: Math.log(one.distinct || 1) / most, missed }));
  sized.sort((a, b) => inMissed(b) - inMissed(a) || (b.distinct ?? Infinity) - (a.distinct ?? Infinity) || 0);
  sync(byId("keys-inputs"), sized, (one) => `${found.version} ${one.input}`, (key) =>
    inputCard(key.slice(key.indexOf(" ") + 1)));
}

/** Return how many values of an input were in the rows that missed. */
function inMissed(input) {
  return input.missed?.distinct[input.input] ?? 0;
}

/** Say which input costs most hits: by a sample of the rows that missed, or by proof. */
function costLead(found, missed) {
  const names = Object.keys(missed?.distinct || {});
  if (names.length) {
    const most = names.reduce((a, b) => (missed.distinct[b] > missed.distinct[a] ? b : a));
    return ` Of ${count(missed.rows)} rows that missed lately, ${most} had ${count(missed.distinct[most])} ` +
      `different values: ${most} costs most hits.`;
  }
  const endless = found.inputs.filter((one) => one.distinct === null).map((one) => one.input);
  const which = endless.length > 3 ? `${endless.slice(0, 3).join(", ")} and ${endless.length - 3} more` : endless.join(", ");
  if (endless.length) return ` Until rows have missed: ${which} ${endless.length > 1 ? "cost" : "costs"} most hits.`;
  const widest = found.inputs.reduce((a, b) => ((b.distinct ?? 0) > (a.distinct ?? 0) ? b : a));
  return ` The widest input, ${widest.input}, has ${count(widest.distinct)} values and costs most hits.`;
}

export function keysLead(name, found) {
  if (!name) return "No model is being served.";
  if (!found) return "Asking the service …";
  if (found.problem) return found.problem;
  if (found.inputs.some((one) => one.distinct === null)) {
    return "The number of keys has no bound: each value that has not come before is a miss. The option " +
      "precision of an input, for a float, or buckets in the model let near values share an answer.";
  }
  if (found.key_space === null) return "There are more keys than any cache can hold.";
  return `At most ${count(found.key_space)} keys: a cache that holds as many answers hits always.`;
}

function rowsNote(found) {
  if (found.rows_together) return "The rows of a request run together and have one key.";
  if (!found.rows_apart) return "Rows of different requests run together: none depends on its neighbours.";
  return `Rows run one at a time, since one may depend on its neighbours: ${found.rows_apart}`;
}
