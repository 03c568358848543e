/* The page of a gomlx service. It reads /v1/api/stats every few seconds, and of a model
   meta/inspect and meta/key; it has no other source and keeps nothing but a token.

   All text is set as text: values of models are never markup.

     poll ─► points ─► windows (differences of two points) ─► views, which change in place
*/

import { byId, make, say } from "./elements.js";
import { showKeys } from "./keys.js";
import { showModels } from "./models.js";
import { poll, POLL_SECONDS, service } from "./service.js";
import { showTiers } from "./tiers.js";
import { charts, figures, showTraffic } from "./traffic.js";
import { form, showSecondRow, showTry, tryRows } from "./try.js";
import { clock, span } from "./units.js";

const VIEWS = { models: showModels, traffic: showTraffic, keys: showKeys, try: showTry, tiers: showTiers };
let view = "models";

function show() {
  showTrouble();
  if (!service.state) return;
  for (const name of Object.keys(VIEWS)) byId(`view-${name}`).hidden = name !== view;
  const models = Object.values(service.state.models);
  const wrong = models.filter((one) => one.problem || !one.ready).length;
  const what = `${models.length} model${models.length === 1 ? "" : "s"}`;
  const how = service.state.draining ? "the service is stopping" : wrong ? `${wrong} with a problem` : "all ready";
  say(byId("summary"), `${what}, ${how}`);
  VIEWS[view]();
}

const troubleSince = make("span", { ariaHidden: "true" });

/** Say that the service does not answer; how long is not read out again and again. */
function showTrouble() {
  const node = byId("trouble");
  const isLocked = !byId("token").hidden;
  node.hidden = !service.failingSince || isLocked;
  if (node.hidden) return;
  const age = span((Date.now() - (service.answeredAt || service.failingSince)) / 1000);
  say(troubleSince, ` for ${age}.${service.state ? ` What you see is from ${clock(service.answeredAt / 1000)}.` : ""}`);
  if (node.problem !== service.problem || !node.contains(troubleSince)) {
    node.problem = service.problem;
    const text = service.problem ? `The service cannot be read: ${service.problem}.` : "The service has not answered";
    node.replaceChildren(text, ...(service.problem ? [] : [troubleSince]));
  }
}

function route() {
  const wanted = location.hash.slice(1);
  if (wanted === "main") return;
  view = wanted in VIEWS ? wanted : "models";
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${view}`) {
      link.setAttribute("aria-current", "page");
      document.title = `${link.textContent} – gomlx`;
    } else link.removeAttribute("aria-current");
  }
  show();
}

async function keepPolling() {
  if (!document.hidden) await poll();
  setTimeout(keepPolling, POLL_SECONDS * 1000);
}

function begin() {
  byId("figures").replaceWith(figures);
  byId("charts").append(...Object.values(charts).map((chart) => chart.node));
  addEventListener("hashchange", route);
  addEventListener("visibilitychange", () => document.hidden || poll());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
    Object.values(charts).forEach((chart) => chart.data && chart.begin()));
  for (const id of ["traffic-model", "keys-model", "try-model"]) byId(id).addEventListener("change", show);
  byId("try-compare").addEventListener("change", showSecondRow);
  byId("try-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (form.isBusy) return; // not disabled: that would lose the focus
    form.isBusy = true;
    tryRows().finally(() => { form.isBusy = false; });
  });
  byId("token").addEventListener("submit", (event) => {
    event.preventDefault();
    service.token = byId("token-value").value.trim();
    sessionStorage.setItem("gomlx-token", service.token);
    byId("token-value").value = "";
    poll();
  });
  service.show = show;
  setInterval(showTrouble, 1000);
  route();
  keepPolling();
}

begin();
