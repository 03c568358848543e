/* What the service tells: its statistics, read every few seconds, and its models. */

import { byId, make, say } from "./elements.js";
import { parse } from "./units.js";

export const POLL_SECONDS = 5;
const TIMEOUT_SECONDS = 10;
export const SHOWN_SECONDS = 15 * 60;

export const service = {
  state: null, // what /v1/api/stats said last
  points: [],
  answeredAt: 0, // by this machine's clock, in milliseconds
  failingSince: 0,
  problem: "",
  show() {}, // called when any of it has changed
  token: sessionStorage.getItem("gomlx-token") || "",
};

export async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (service.token) headers.Authorization = `Bearer ${service.token}`;
  const signal = AbortSignal.timeout(TIMEOUT_SECONDS * 1000);
  return fetch(path, { signal, cache: "no-store", ...options, headers });
}

/** Return the path of a model's route; a further signature is a model ID:NAME. */
export function modelPath(name, route) {
  const [id, signature] = name.split(":");
  const query = signature ? `?signature=${encodeURIComponent(signature)}` : "";
  return `v1/api/model/${encodeURIComponent(id)}/${route}${query}`;
}

async function errorOf(response) {
  const text = await response.text();
  try {
    return JSON.parse(text).error || text;
  } catch {
    return text || response.statusText;
  }
}

export async function poll() {
  const last = service.points.at(-1);
  const isStale = !last || Date.now() - service.answeredAt > 3 * POLL_SECONDS * 1000;
  try {
    const response = await ask(`v1/api/stats${isStale ? "?history" : ""}`);
    showLock(response.status === 401);
    if (!response.ok) throw new Error(`it answers with ${response.status}: ${await errorOf(response)}`);
    take(await response.json());
    service.failingSince = 0;
  } catch (error) {
    service.failingSince ||= Date.now();
    const isNetwork = error instanceof TypeError || error.name === "TimeoutError";
    service.problem = isNetwork ? "" : error.message;
  }
  service.show();
}

function showLock(isLocked) {
  byId("token").hidden = !isLocked;
  if (!isLocked) return;
  service.state = null;
  for (const section of document.querySelectorAll("main section")) section.hidden = true;
  say(byId("summary"), "A token is needed");
  say(byId("token-hint"), service.token ? "The service does not know this token." : "");
}

/** Put each further signature after its model: they come in the order of their loads. */
function ordered(models) {
  const names = Object.keys(models);
  const place = (name) => names.indexOf(name.split(":")[0]);
  const sorted = [...names].sort((a, b) => place(a) - place(b) || (a < b ? -1 : 1));
  return Object.fromEntries(sorted.map((name) => [name, models[name]]));
}

function take(state) {
  service.state = { ...state, models: ordered(state.models) };
  service.answeredAt = Date.now();
  const points = [...(state.history || service.points), state.now];
  delete service.state.history;
  const oldest = state.now.time - SHOWN_SECONDS - 30;
  const byTime = new Map(points.map((point) => [point.time, point]));
  service.points = [...byTime.values()].filter((one) => one.time >= oldest);
  service.points.sort((a, b) => a.time - b.time);
}

const inspected = new Map(); // model and version → what meta/inspect says

/** Return what is known of a model's live version; null while it is being read. */
export function inspection(name) {
  const key = `${name} ${service.state.models[name]?.version}`;
  if (!inspected.has(key)) {
    inspected.set(key, null);
    inspect(name).then((found) => {
      inspected.set(key, found);
      setTimeout(() => found.problem && inspected.delete(key), POLL_SECONDS * 1000);
      service.show();
    });
  }
  return inspected.get(key);
}

async function inspect(name) {
  try {
    const response = await ask(modelPath(name, "meta/inspect"));
    return response.ok ? parse(await response.text()) : { problem: await errorOf(response) };
  } catch (error) {
    return { problem: `The service does not answer: ${error.message}` };
  }
}

/** Return the models that a list has selected, after it has got those that there are. */
export function chosen(id, hasAll = false) {
  const select = byId(id);
  const models = Object.keys(service.state.models).filter((name) => hasAll || service.state.models[name].ready);
  const options = hasAll ? ["", ...models] : models;
  if (Array.from(select.options, (one) => one.value).join("\n") !== options.join("\n") || !select.length) {
    const before = select.value;
    select.replaceChildren(...options.map((value) => make("option", { value }, value || "all")));
    if (options.includes(before)) select.value = before;
  }
  return hasAll && !select.value ? models : models.filter((name) => name === select.value);
}
