/* A chart of the last minutes. */

import { make, say, sync } from "./elements.js";
import { service, SHOWN_SECONDS } from "./service.js";
import { clock, known } from "./units.js";

/** A chart of the last minutes. formats: of values; most: of the y axis, if fixed. */
export class Chart {
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
