/* The page of a gomlx service. It reads /v1/api/stats every few seconds, and of a model
   meta/inspect and meta/key; it has no other source and keeps nothing but a token.

   All text is set as text: values of models are never markup.

     poll ─► points ─► windows (differences of two points) ─► views, which change in place
*/

const POLL_SECONDS = 5;
const TIMEOUT_SECONDS = 10;
const SHOWN_SECONDS = 15 * 60;
const RECENT_SECONDS = 60;
const SHORTEST_SECONDS = 4;
const NONE = "–";

// --- elements ---

const byId = (id) => document.getElementById(id);

/** Make an element; what is no property of elements becomes an attribute. */
function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** Change a text only if it differs: selections and readers are left alone. */
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Let a parent have one child for each item, and let each show its item.
    create: key → an element with a method `show`. */
function sync(parent, items, keyOf, create) {
  const known = new Map(Array.from(parent.children, (node) => [node.key, node]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let node = known.get(key);
    known.delete(key);
    if (!node) {
      node = create(key);
      node.key = key;
    }
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
    node.show(item);
  }
  for (const node of known.values()) node.remove();
}

/** A list of names and values; `set` changes a value. */
function facts(names, className = "facts") {
  const node = make("dl", { className });
  const values = {};
  for (const name of names) {
    values[name] = make("dd", {}, NONE);
    node.append(make("div", {}, make("dt", {}, name), values[name]));
  }
  node.set = (name, text, title = "") => {
    say(values[name], text);
    if (values[name].title !== title) values[name].title = title;
  };
  return node;
}

function badge(node, tone, text) {
  const className = `badge ${tone}`;
  if (node.className !== className) node.className = className;
  say(node, text);
}

function empty(parent, text) {
  sync(parent, [text], (one) => `empty ${one}`, () => {
    const node = make("p", { className: "empty" });
    node.show = (one) => say(node, one);
    return node;
  });
}

// --- numbers and their units ---

const digits = (value, most) => value.toLocaleString("en", { maximumFractionDigits: most });
const known = (value) => value !== null && value !== undefined && !Number.isNaN(value);

function count(value) {
  return known(value) ? digits(value, 0) : NONE;
}

function rate(value) {
  return known(value) ? `${digits(value, value < 10 ? 1 : 0)}/s` : NONE;
}

function percent(value) {
  if (!known(value)) return NONE;
  return `${digits(value, value > 99 && value < 100 ? 2 : 1)} %`;
}

function seconds(value) {
  if (!known(value)) return NONE;
  if (value === 0) return "0";
  if (value < 1e-3) return `${digits(value * 1e6, 0)} µs`;
  if (value < 1) return `${digits(value * 1e3, value < 0.1 ? 2 : 0)} ms`;
  return `${digits(value, 2)} s`;
}

function bytes(value) {
  let size = value;
  for (const unit of ["B", "KiB", "MiB"]) {
    if (size < 1024) return `${digits(size, size < 10 && unit !== "B" ? 1 : 0)} ${unit}`;
    size /= 1024;
  }
  return `${digits(size, 1)} GiB`;
}

function span(value) {
  const steps = [[90, 1, "s"], [90 * 60, 60, "min"], [36 * 3600, 3600, "h"], [Infinity, 86400, "days"]];
  const [, unit, name] = steps.find(([most]) => value < most);
  return `${Math.max(0, Math.floor(value / unit))} ${name}`;
}

const clock = (time) => new Date(time * 1000).toLocaleTimeString([], { hour12: false });

/** Parse JSON; integers that JavaScript cannot hold keep their digits. */
function parse(text) {
  return JSON.parse(text, (_, value, context) => {
    const isLong = typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value);
    return isLong && context && JSON.rawJSON ? JSON.rawJSON(context.source) : value;
  });
}

// --- the service ---

const service = {
  state: null, // what /v1/api/stats said last
  points: [],
  answeredAt: 0, // by this machine's clock, in milliseconds
  failingSince: 0,
  problem: "",
  token: sessionStorage.getItem("gomlx-token") || "",
};

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (service.token) headers.Authorization = `Bearer ${service.token}`;
  const signal = AbortSignal.timeout(TIMEOUT_SECONDS * 1000);
  return fetch(path, { signal, cache: "no-store", ...options, headers });
}

/** Return the path of a model's route; a further signature is a model ID:NAME. */
function modelPath(name, route) {
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

async function poll() {
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
  show();
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

// --- what happened between two points ---

/** A number that only grows; null if it has not: the service began anew. */
function grown(before, after) {
  const difference = (after || 0) - (before || 0);
  return difference < 0 ? null : difference;
}

function sum(values) {
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
function recent(most) {
  const points = service.points;
  const after = points.at(-1);
  const before = points.findLast((one) => one.time <= after.time - most) || points[0];
  return before === after ? null : new Window(before, after);
}

/** The windows between all points; shorter ones than some seconds become part of the next. */
function windows() {
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

// --- models ---

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

function showModels() {
  const models = Object.entries(service.state.models);
  if (!models.length) empty(byId("models-list"), "No models are being served.");
  else sync(byId("models-list"), models, ([name]) => name, modelCard);
}

// --- traffic ---

/** A chart of the last minutes. formats: of values; most: of the y axis, if fixed. */
class Chart {
  constructor(title, format, most = null) {
    this.title = title;
    this.format = format;
    this.most = most;
    this.names = [];
    this.plot = make("div", { className: "plot", tabIndex: 0, role: "img" });
    this.legend = make("ul", { className: "legend" });
    this.time = make("time");
    this.node = make("figure", { className: "card" },
      make("figcaption", {}, make("h3", {}, title), this.time), this.plot, this.legend);
    this.plot.addEventListener("keydown", (event) => this.step(event));
    this.plot.addEventListener("blur", () => this.uplot?.setCursor({ left: -10, top: -10 }));
    new ResizeObserver(() => this.resize()).observe(this.plot);
  }

  /** data: the times, then the values of each series. */
  show(names, data) {
    this.data = data;
    const isNew = !this.uplot || names.join("\n") !== this.names.join("\n");
    this.names = names;
    if (isNew) this.begin();
    else this.uplot.setData(data);
    this.tell(this.uplot?.cursor.idx);
  }

  begin() {
    this.uplot?.destroy();
    this.uplot = null;
    if (!this.plot.clientWidth) return;
    this.uplot = new uPlot(this.options(), this.data, this.plot);
  }

  options() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = {
      stroke: colour("--quiet"),
      font: "12px system-ui, sans-serif",
      grid: { stroke: colour("--grid"), width: 1 },
      ticks: { stroke: colour("--grid"), width: 1, size: 4 },
    };
    const minutes = (_, times) => times.map((time) => clock(time).slice(0, 5));
    const series = this.names.map((label, i) => ({
      label, stroke: colour(`--series-${(i % 4) + 1}`), width: 2, points: { show: false },
    }));
    return {
      width: this.plot.clientWidth,
      height: this.plot.clientHeight,
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false } },
      scales: {
        x: { range: () => [service.state.now.time - SHOWN_SECONDS, service.state.now.time] },
        y: { range: (_, low, high) => [0, this.most ?? Math.max((high || 0) * 1.1, this.format.least)] },
      },
      axes: [
        { ...axis, values: minutes, space: 60, size: 30 },
        { ...axis, values: (_, values) => values.map(this.format), size: 64, space: 36 },
      ],
      series: [{}, ...series],
      hooks: { setCursor: [(plot) => this.tell(plot.cursor.idx)] },
    };
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.plot;
    if (!width || !this.data) return;
    if (this.uplot) this.uplot.setSize({ width, height });
    else this.begin();
  }

  /** Show the values at a place in the data, or the newest. */
  tell(index) {
    const times = this.data[0];
    const i = known(index) ? index : times.length - 1;
    say(this.time, known(index) && known(times[i]) ? clock(times[i]) : "now");
    const items = this.names.map((name, n) => ({ name, n, value: this.data[n + 1][i] }));
    sync(this.legend, items, (one) => `${one.n} ${one.name}`, () => {
      const value = make("b");
      const label = make("span");
      const swatch = make("span");
      const node = make("li", {}, swatch, label, " ", value);
      node.show = (one) => {
        swatch.className = `swatch swatch-${one.n % 4}`;
        say(label, one.name);
        say(value, this.format(one.value));
      };
      return node;
    });
    const newest = this.names.map((name, n) => `${name} ${this.format(this.data[n + 1].at(-1))}`);
    this.plot.setAttribute("aria-label", `${this.title}, the last 15 minutes; now ${newest.join(", ")}`);
  }

  step(event) {
    const last = this.data[0].length - 1;
    const at = this.uplot?.cursor.idx ?? last;
    const moved = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[event.key];
    if (moved === undefined || !this.uplot || last < 0) return;
    event.preventDefault();
    const time = this.data[0][Math.min(last, Math.max(0, moved))];
    this.uplot.setCursor({ left: this.uplot.valToPos(time, "x"), top: 1 });
  }
}

const formatted = (format, least) => Object.assign((value) => format(value), { least });
const charts = {
  hits: new Chart("Hit rate by tier", formatted(percent, 1), 100),
  requests: new Chart("Requests", formatted(rate, 1)),
  latency: new Chart("Time to answer", formatted(seconds, 1e-4)),
  queue: new Chart("Rows that wait for a run", formatted(count, 4)),
};
const figures = facts(["Requests", "Refused", "Hit rate", "Median", "99 of 100 within", "Waiting rows"], "figures");

/** Return the tiers of some datastores: [store, tier, name to show]. */
function tiersOf(stores) {
  const tiers = service.state.now.tiers;
  const wanted = Object.keys(tiers).filter((store) => stores.includes(store));
  return wanted.flatMap((store) => Object.keys(tiers[store]).map((tier) =>
    [store, tier, wanted.length > 1 ? `${store} ${tier}` : tier]));
}

function showTraffic() {
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

// --- key space ---

const inspected = new Map(); // model and version → what meta/inspect says

/** Return what is known of a model's live version; null while it is being read. */
function inspection(name) {
  const key = `${name} ${service.state.models[name]?.version}`;
  if (!inspected.has(key)) {
    inspected.set(key, null);
    inspect(name).then((found) => {
      inspected.set(key, found);
      setTimeout(() => found.problem && inspected.delete(key), POLL_SECONDS * 1000);
      show();
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

function showKeys() {
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

function keysLead(name, found) {
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

// --- try a prediction ---

// shown: the model and version that the fields, of each row, are for
const form = { shown: "", model: "", fields: [], isBusy: false };

function showTry() {
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

function showSecondRow() {
  const isCompared = byId("try-compare").checked;
  const [first, second] = byId("try-rows").children;
  if (!second) return;
  second.hidden = !isCompared;
  first.firstElementChild.textContent = isCompared ? "Row 1" : "Row";
}

function rowFields(found, n) {
  const node = make("fieldset", {}, make("legend", {}, `Row ${n}`));
  const tensors = [...found.signature.inputs, ...(found.signature.auxiliaries || [])];
  const fields = tensors.map((tensor, i) => {
    const field = fieldOf(tensor, found.examples[tensor.name] || [], `row-${n}-${i}`);
    node.append(field.node);
    return field;
  });
  return { node, fields };
}

/** A field of a form: its element, and how its value is written in JSON. */
function fieldOf(tensor, examples, id) {
  const isScalar = isOne(tensor);
  const input = inputOf(tensor, examples, isScalar);
  input.id = id;
  const hint = make("span", { className: "hint", id: `${id}-hint` }, hintOf(tensor, isScalar));
  input.setAttribute("aria-describedby", hint.id);
  const node = make("div", { className: "field" }, make("label", { htmlFor: id }, tensor.name), input, hint);
  if (isScalar && examples.length > 1) {
    const list = make("datalist", { id: `${id}-values` }, ...examples.map((one) => make("option", { value: plain(one) })));
    input.setAttribute("list", list.id);
    node.append(list);
  }
  return { tensor, input, node, isScalar };
}

function isOne(tensor) {
  const dims = tensor.shape;
  return Boolean(dims) && !tensor.ragged && !tensor.is_sparse && (!dims.length || (dims.length === 1 && dims[0] === 1));
}

const plain = (value) => (typeof value === "string" ? value : JSON.stringify(value));

function inputOf(tensor, examples, isScalar) {
  if (!isScalar) return make("textarea", { value: JSON.stringify(exampleOf(tensor, examples)), spellcheck: false });
  if (tensor.dtype === "bool") return make("select", {}, ...["false", "true"].map((one) => make("option", {}, one)));
  const isNumber = !["string", "any"].includes(tensor.dtype);
  const value = known(tensor.default) ? plain(tensor.default) : examples.length ? plain(examples[0]) : isNumber ? "0" : "";
  return make("input", { type: "text", value, autocomplete: "off", spellcheck: false, inputMode: isNumber ? "decimal" : "text" });
}

/** A value of a shape, in which any size is one. */
function exampleOf(tensor, examples) {
  const one = examples.length ? examples[0] : tensor.dtype === "string" ? "" : tensor.dtype === "bool" ? false : 0;
  const rank = (tensor.shape || [null]).length;
  if (tensor.is_sparse) return { indices: [Array(rank).fill(0)], values: [one], shape: (tensor.shape || []).map((size) => size ?? 1) };
  return (tensor.shape || [null]).reduceRight((inner, size) => Array(size ?? 1).fill(inner), one);
}

function hintOf(tensor, isScalar) {
  const dims = tensor.shape ? `lists of shape [${tensor.shape.map((size) => size ?? "any").join(", ")}]` : "nested lists";
  const what = tensor.is_sparse ? "a sparse value" : tensor.ragged ? "nested lists of any lengths" : dims;
  const parts = [tensor.dtype === "any" ? "any value" : tensor.dtype];
  if (!isScalar) parts.push(`as JSON, ${what}`);
  if (tensor.missing) parts.push("empty: missing");
  if (known(tensor.default)) parts.push("empty: the default");
  return parts.join(", ");
}

const NUMBER = /^-?\d+(\.\d+)?([eE][-+]?\d+)?$/;

/** Return the JSON of a field's value; null to leave it out. Throws what is wrong. */
function literal({ tensor, input, isScalar }) {
  const text = input.value;
  if (!text.trim() && known(tensor.default)) return null;
  if (!text.trim() && tensor.missing) return "null";
  if (!isScalar) {
    JSON.parse(text);
    return text;
  }
  if (tensor.dtype === "bool") return text;
  if (tensor.dtype === "string") return /^\{"b64":"[^"]*"\}$/.test(text) ? text : JSON.stringify(text);
  const isWord = tensor.dtype === "any" && ["true", "false", "null"].includes(text.trim());
  return NUMBER.test(text.trim()) || isWord ? text.trim() : JSON.stringify(text);
}

/** Return the body of a row. Marks the field that is wrong, and throws. */
function bodyOf(fields) {
  const parts = [];
  for (const field of fields) {
    field.input.removeAttribute("aria-invalid");
    try {
      const value = literal(field);
      if (value !== null) parts.push(`${JSON.stringify(field.tensor.name)}:${value}`);
    } catch (error) {
      field.input.setAttribute("aria-invalid", "true");
      field.input.focus();
      throw new Error(`${field.tensor.name}: ${error.message}`);
    }
  }
  return `{${parts.join(",")}}`;
}

async function tryRows() {
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

function problemOf({ response, text }) {
  try {
    return JSON.parse(text).error;
  } catch {
    return text || response.statusText;
  }
}

function verdict(tone, text) {
  return make("p", { className: `verdict ${tone}` }, text);
}

function comparison(differing) {
  if (!differing.length) return verdict("good", "Both rows have one key and share one answer.");
  return verdict("odd", `The rows have keys of their own. They differ in: ${differing.join(", ")}`);
}

function resultCard(title, reply, question, body) {
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

// --- tiers ---

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

function showTiers() {
  const tiers = tiersOf(Object.keys(service.state.now.tiers));
  if (!tiers.length) empty(byId("tiers-list"), "No datastores: nothing is cached. The section datastores of the config has them.");
  else sync(byId("tiers-list"), tiers, ([store, tier]) => JSON.stringify([store, tier]), tierCard);
}

// --- the page ---

const VIEWS = { models: showModels, traffic: showTraffic, keys: showKeys, try: showTry, tiers: showTiers };
let view = "models";

/** Return the models that a list has selected, after it has got those that there are. */
function chosen(id, hasAll = false) {
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
  setInterval(showTrouble, 1000);
  route();
  keepPolling();
}

begin();
