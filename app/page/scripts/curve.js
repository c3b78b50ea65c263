// The certified radius against the number of samples.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { kept } from "./api.js";
import { h, show } from "./dom.js";
import { count, radius } from "./format.js";
import { factTable } from "./parts.js";

const HEIGHT = 260;
const TABLE_ROWS = 8;

export function curve(job) {
  const element = h("section.card", { "aria-label": "Radius against samples", hidden: true });
  if (job.result.routing !== null) return element; // several runs of samples have no one curve
  kept(job, "curve").then((found) => {
    if (!found?.points?.some((point) => point.radius !== null)) return;
    element.hidden = false;
    draw(element, found);
  }).catch(() => {});
  return element;
}

function draw(element, { points, note }) {
  const place = h("div.chart", { role: "img", "aria-label": summary(points) });
  const some = points.filter((_, index) => index % Math.ceil(points.length / TABLE_ROWS) === 0 || index === points.length - 1);
  show(element,
    h("h2", "Radius against samples"),
    h("p.lead.small", "How the radius grows with the number of noisy samples. It is limited by σ."),
    place,
    h("details", h("summary", "The same as a table"), factTable("Radius against samples", some.map((point) => [
      `${count(point.samples)} samples`, point.radius === null ? "no radius" : radius(point.radius),
    ]))),
    h("p.small.muted", note));
  let plot = null;
  const paint = () => {
    plot?.destroy();
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const font = `12px ${colour("--sans")}`;
    const axis = { stroke: colour("--ink-3"), font, grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
    plot = new uPlot({
      width: Math.max(200, place.clientWidth), height: HEIGHT,
      scales: { x: { time: false, distr: 3 }, y: { range: (_, __, most) => [0, (most || 1) * 1.1] } },
      legend: { show: false }, cursor: { drag: { x: false, y: false } },
      axes: [
        { ...axis, filter: decades, grid: { ...axis.grid, filter: decades }, ticks: { ...axis.ticks, filter: decades }, values: (_, ticks) => ticks.map((tick) => tick === null ? "" : count(tick)) },
        { ...axis, size: 56, values: (_, ticks) => ticks.map((tick) => tick.toFixed(2)) },
      ],
      series: [{}, { stroke: colour("--accent"), width: 2, fill: `color-mix(in srgb, ${colour("--accent")} 12%, transparent)`, points: { show: false } }],
    }, [points.map((point) => point.samples), points.map((point) => point.radius)], place);
  };
  let width = 0;
  new ResizeObserver(() => {
    if (!place.isConnected || place.clientWidth === width) return;
    width = place.clientWidth;
    paint();
  }).observe(place);
  const themed = () => {
    if (place.isConnected) paint();
    else document.removeEventListener("themechange", themed);
  };
  document.addEventListener("themechange", themed);
}

const decades = (_, ticks) => ticks.map((tick) => Number.isInteger(Math.log10(tick)) ? tick : null);

function summary(points) {
  const first = points.find((point) => point.radius !== null);
  const last = points.at(-1);
  if (!first || last.radius === null) return `No radius is shown up to ${count(last.samples)} samples.`;
  return `The radius grows from ${radius(first.radius)} at ${count(first.samples)} samples to ${radius(last.radius)} at ${count(last.samples)}.`;
}
