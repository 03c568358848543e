/* Answers, and what their keys are made of. */

import { facts, make } from "./elements.js";
import { NONE, parse, seconds } from "./units.js";

export function resultCard(title, reply, question, body) {
  const { response, text } = reply;
  if (!response.ok) {
    return make("article", { className: "card" },
      make("div", { className: "head" }, make("h3", {}, title), make("span", { className: "badge bad" }, `${response.status}`)),
      make("p", { className: "problem" }, problemOf(reply)));
  }
  const document = parse(text);
  const status = response.headers.get("Cache-Status") || "";
  const isHit = /; hit/.test(status);
  const values = facts(["From", "In the service", "With the network", "Version"]);
  values.set("From", originOf(status), status);
  values.set("In the service", seconds(document.serviceTimeMcs / 1e6));
  values.set("With the network", seconds(reply.seconds));
  const version = response.headers.get("Gomlx-Version") || "";
  values.set("Version", version.slice(0, 12) || NONE, version);
  const card = make("article", { className: "card" },
    make("div", { className: "head" }, make("h3", {}, title),
      make("span", { className: `badge ${isHit ? "good" : "plain"}` }, isHit ? "hit" : "computed")),
    make("pre", { className: "answer", tabIndex: 0, role: "region", ariaLabel: `${title}: the answer` }, JSON.stringify(document.data, null, 2)),
    values);
  if (question) card.append(...keyOf(question, body));
  return card;
}

function originOf(status) {
  const detail = /detail="?([^";]+)/.exec(status)?.[1] || "";
  if (/; hit/.test(status)) return `the cache, ${detail}`;
  if (/collapsed/.test(status)) return "a run that was under way";
  if (/bypass/.test(status)) return `a run; not cached: ${detail}`;
  return /stored/.test(status) ? "a run; kept now" : "a run";
}

/** What the key is made of: each input as it was given, and as the model is fed it. */
function keyOf(question, body) {
  const row = question.rows ? question.rows[0] : question;
  const given = parse(body);
  const lines = Object.entries(row.canonical).map(([name, value]) => {
    const why = row.collapsed[name];
    const cell = make("td", {}, make("code", {}, JSON.stringify(value)));
    if (why) cell.append(make("div", { className: "hint" }, why.replace(/^.*?\((.*)\)$/s, "$1")));
    return make("tr", {}, make("th", { scope: "row" }, name),
      make("td", {}, make("code", {}, name in given ? JSON.stringify(given[name]) : NONE)), cell);
  });
  const head = ["Input", "Given", "The model is fed"].map((text) => make("th", { scope: "col" }, text));
  return [
    make("table", { className: "pairs" }, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...lines)),
    make("p", { className: "hint" }, "Key ", make("code", {}, question.key)),
  ];
}

export function problemOf({ response, text }) {
  try {
    return JSON.parse(text).error;
  } catch {
    return text || response.statusText;
  }
}
