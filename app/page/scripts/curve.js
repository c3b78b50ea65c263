// The certified radius against the number of samples.

import { kept } from "./api.js";
import { drawChart } from "./chart.js";
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
  drawChart(place, HEIGHT, [points.map((point) => point.samples), points.map((point) => point.radius)], ({ axis, accent }) => ({
    scales: { x: { time: false, distr: 3 }, y: { range: (_, __, most) => [0, (most || 1) * 1.1] } },
    axes: [
      { ...axis, filter: decades, grid: { ...axis.grid, filter: decades }, ticks: { ...axis.ticks, filter: decades }, values: (_, ticks) => ticks.map((tick) => tick === null ? "" : count(tick)) },
      { ...axis, size: 56, values: (_, ticks) => ticks.map((tick) => tick.toFixed(2)) },
    ],
    series: [{}, { stroke: accent, width: 2, fill: `color-mix(in srgb, ${accent} 12%, transparent)`, points: { show: false } }],
  }));
}

const decades = (_, ticks) => ticks.map((tick) => Number.isInteger(Math.log10(tick)) ? tick : null);

function summary(points) {
  const first = points.find((point) => point.radius !== null);
  const last = points.at(-1);
  if (!first || last.radius === null) return `No radius is shown up to ${count(last.samples)} samples.`;
  return `The radius grows from ${radius(first.radius)} at ${count(first.samples)} samples to ${radius(last.radius)} at ${count(last.samples)}.`;
}
