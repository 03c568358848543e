/* The view of the key space. */

import { badge, byId, make, say, sync } from "./elements.js";
import { chosen, inspection, service } from "./service.js";
import { count } from "./units.js";

function inputCard(name) {
  const kind = make("span", { className: "badge plain" });
  const shape = make("span", { className: "hint" });
  const meter = make("meter", { min: 0, max: 1 });
  const endless = make("div", { className: "bar endless" });
  const size = make("strong");
  const proof = make("p", { className: "hint" });
  const node = make("article", { className: "card" },
    make("div", { className: "head" }, make("h3", {}, name), kind, shape),
    meter, endless, size, proof);
  node.show = (input) => {
    badge(kind, input.distinct === null ? "odd" : "plain", input.kind);
    say(shape, shapeOf(input));
    meter.hidden = input.distinct === null;
    endless.hidden = !meter.hidden;
    meter.value = input.share;
    meter.setAttribute("aria-label", `size of ${name}`);
    say(size, input.distinct === null ? "no bound" : `${count(input.distinct)} value${input.distinct === 1 ? "" : "s"}`);
    say(proof, input.proof);
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
  say(byId("keys-lead"), keysLead(name, found));
  say(byId("keys-rows"), found?.inputs ? rowsNote(found) : "");
  const most = Math.log(Math.max(10, ...inputs.map((one) => one.distinct || 0)));
  const sized = inputs.map((one) => ({ ...one, share: Math.log(one.distinct || 1) / most }));
  sized.sort((a, b) => (b.distinct ?? Infinity) - (a.distinct ?? Infinity) || 0);
  sync(byId("keys-inputs"), sized, (one) => `${found.version} ${one.input}`, (key) =>
    inputCard(key.slice(key.indexOf(" ") + 1)));
}

export function keysLead(name, found) {
  if (!name) return "No model is being served.";
  if (!found) return "Asking the service …";
  if (found.problem) return found.problem;
  const endless = found.inputs.filter((one) => one.distinct === null).map((one) => one.input);
  if (endless.length) {
    const which = endless.length > 3 ? `${endless.slice(0, 3).join(", ")} and ${endless.length - 3} more` : endless.join(", ");
    return `The number of keys has no bound, and ${which} ${endless.length > 1 ? "cost" : "costs"} most hits: ` +
      "each value that has not come before is a miss. The option precision of an input, for a float, " +
      "or buckets in the model let near values share an answer.";
  }
  if (found.key_space === null) return "There are more keys than any cache can hold; the widest input comes first.";
  const widest = found.inputs.reduce((a, b) => (b.distinct > a.distinct ? b : a));
  return `At most ${count(found.key_space)} keys: a cache that holds as many answers hits always. ` +
    `The widest input, ${widest.input}, has ${count(widest.distinct)} values and costs most hits.`;
}

function rowsNote(found) {
  if (found.rows_together) return "The rows of a request run together and have one key.";
  if (!found.rows_apart) return "Rows of different requests run together: none depends on its neighbours.";
  return `Rows run one at a time, since one may depend on its neighbours: ${found.rows_apart}`;
}
