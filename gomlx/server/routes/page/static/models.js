/* The view of models. */

import { badge, byId, empty, facts, make, say, sync } from "./elements.js";
import { service } from "./service.js";
import { known, NONE, rate, seconds, span } from "./units.js";
import { recent, RECENT_SECONDS } from "./windows.js";

function modelCard(name) {
  const state = make("span", { className: "badge plain" });
  const values = facts(["Version", "Staged", "Requests", "Refused", "Median", "Answers kept in"]);
  const problem = make("p", { className: "problem", hidden: true });
  const node = make("article", { className: "card" },
    make("div", { className: "head" }, make("h3", {}, name), state), values, problem);
  node.show = ([, model]) => {
    const tone = !model.ready ? "bad" : model.problem ? "odd" : "good";
    const loading = model.problem ? "cannot be served" : "being loaded";
    badge(state, tone, !model.ready ? loading : model.problem ? "older version serves" : "ready");
    values.set("Version", model.version ? model.version.slice(0, 12) : NONE, model.version || "");
    const staged = known(model.staged) ? `${span(service.state.now.time - model.staged)} ago` : NONE;
    values.set("Staged", staged, known(model.staged) ? new Date(model.staged * 1000).toString() : "");
    const window = recent(RECENT_SECONDS);
    values.set("Requests", window ? rate(window.answered([name]) / window.seconds) : NONE);
    values.set("Refused", window ? rate(window.refused([name]) / window.seconds) : NONE);
    values.set("Median", window ? seconds(window.latency([name], 0.5)) : NONE);
    values.set("Answers kept in", model.datastore || (model.ready ? "no datastore" : NONE));
    problem.hidden = !model.problem;
    say(problem, model.problem || "");
  };
  return node;
}

export function showModels() {
  const models = Object.entries(service.state.models);
  if (!models.length) empty(byId("models-list"), "No models are being served.");
  else sync(byId("models-list"), models, ([name]) => name, modelCard);
}
