/* The view in which predictions are tried. */

import { byId, make } from "./elements.js";
import { bodyOf, rowFields } from "./fields.js";
import { keysLead } from "./keys.js";
import { problemOf, resultCard } from "./results.js";
import { ask, chosen, inspection, modelPath } from "./service.js";
import { parse } from "./units.js";

// shown: the model and version that the fields, of each row, are for
export const form = { shown: "", model: "", fields: [], isBusy: false };

export function showTry() {
  const [name] = chosen("try-model");
  const found = name && inspection(name);
  const key = `${name} ${found?.version}`;
  byId("try-form").hidden = !found?.inputs;
  if (!found?.inputs) {
    form.shown = "";
    byId("try-result").replaceChildren(make("p", { className: "empty" }, keysLead(name, found)));
  } else if (form.shown !== key) {
    form.shown = key;
    byId("try-result").replaceChildren();
    const rows = [1, 2].map((n) => rowFields(found, n));
    rows.forEach((row, i) => row.fields.forEach((field) => keepValue(field, i, name)));
    form.model = name;
    form.fields = rows.map((row) => row.fields);
    byId("try-rows").replaceChildren(...rows.map((row) => row.node));
    showSecondRow();
  }
}

/** Let a field of a new version have what was typed for the one before. */
function keepValue(field, row, model) {
  const old = form.model === model && form.fields[row]?.find((one) => one.tensor.name === field.tensor.name);
  if (old) field.input.value = old.input.value;
}

export function showSecondRow() {
  const isCompared = byId("try-compare").checked;
  const [first, second] = byId("try-rows").children;
  if (!second) return;
  second.hidden = !isCompared;
  first.firstElementChild.textContent = isCompared ? "Row 1" : "Row";
}

export async function tryRows() {
  const [name] = chosen("try-model");
  const result = byId("try-result");
  try {
    const bodies = form.fields.slice(0, byId("try-compare").checked ? 2 : 1).map(bodyOf);
    const explained = await post(name, "meta/key", `[${bodies.join(",")}]`);
    const keys = explained.response.ok ? parse(explained.text) : null;
    const cards = [];
    for (const [i, body] of bodies.entries()) { // one after the other: the second may hit
      const title = bodies.length > 1 ? `Row ${i + 1}` : "Answer";
      cards.push(resultCard(title, await post(name, "eval", body), keys?.questions[i], body));
    }
    const notes = keys ? [] : [verdict("odd", `No key: ${problemOf(explained)}`)];
    if (keys && bodies.length > 1) notes.push(comparison(keys.differing));
    result.replaceChildren(...notes, make("div", { className: "results" }, ...cards));
  } catch (error) {
    result.replaceChildren(verdict("bad", error.message));
  }
}

async function post(name, route, body) {
  const headers = { "Content-Type": "application/json" };
  const began = performance.now();
  const response = await ask(modelPath(name, route), { method: "POST", headers, body });
  const text = await response.text();
  return { response, text, seconds: (performance.now() - began) / 1000 };
}

function verdict(tone, text) {
  return make("p", { className: `verdict ${tone}` }, text);
}

function comparison(differing) {
  if (!differing.length) return verdict("good", "Both rows have one key and share one answer.");
  return verdict("odd", `The rows have keys of their own. They differ in: ${differing.join(", ")}`);
}
