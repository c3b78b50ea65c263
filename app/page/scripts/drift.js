// Abstentions and radii by day, for each task, modality and scanner model: whether the images are still of the same kind.

import { get } from "./api.js";
import { drawChart } from "./chart.js";
import { h, newId, show } from "./dom.js";
import { count, percent, radius } from "./format.js";
import { problemMessage } from "./problem.js";
import { lacking, may } from "./session.js";
import { table } from "./table.js";

const HEIGHT = 180;
const DAY_S = 86_400;
const PERIODS = [[30, "30 days"], [90, "90 days"], [365, "1 year"]];

/** Returns the section of the service's view. */
export function driftCard() {
  const id = newId("drift");
  const body = h("div.stack");
  const period = h("select", { id: `${id}-days` }, PERIODS.map(([days, words]) => h("option", { value: days }, words)));
  const kind = h("select", { id: `${id}-kind` });
  const choices = h("div.fields", { hidden: true },
    h("div.field", h("label", { for: kind.id }, "Kind of image"), kind),
    h("div.field", h("label", { for: period.id }, "Period"), period));
  const element = h("section.card.stack", { "aria-labelledby": id },
    h("h2", { id }, "Abstentions and radii over time"),
    h("p.lead.small", "Your own certificates by day. A change says that images, requests or classifiers have changed. It does not say which of them, nor that a class is right or wrong. Where a day has few certificates, its share moves by chance."),
    choices, body);
  let rows = [];
  const draw = () => show(body, ...seriesOf(rows.filter((row) => key(row) === kind.value)));
  const load = async () => {
    try {
      const found = await get(`/drift?days=${period.value}`);
      rows = found.rows;
      const kinds = [...new Map(rows.map((row) => [key(row), title(row)]))];
      const before = kind.value;
      show(kind, kinds.map(([value, words]) => h("option", { value }, words)));
      if (kinds.some(([value]) => value === before)) kind.value = before;
      choices.hidden = false;
      kind.disabled = !rows.length;
      if (rows.length) draw();
      else show(body, h("p.empty", "No certificate in this period. The first one appears here."));
    } catch (problem) {
      show(body, problemMessage(problem, "h3"));
    }
  };
  kind.addEventListener("change", draw);
  period.addEventListener("change", load);
  if (may("read")) load();
  else show(body, lacking("read certificates", "read"));
  return element;
}

const key = (row) => JSON.stringify([row.task, row.modality, row.scanner_model]);

function title({ task, modality, scanner_model: scanner }) {
  const labels = [modality, scanner].filter((label) => label !== "none");
  return [task === "none" ? "Classes of the request's own" : task, ...labels].join(" · ");
}

function seriesOf(rows) {
  const days = rows.map(({ day }) => Date.parse(day) / 1000);
  const shares = rows.map((row) => row.abstentions / row.certificates);
  const medians = rows.map((row) => row.radius?.p50 ?? null);
  return [
    h("div.pair",
      line("Share of abstentions", days, shares, (share) => percent(share), [0, 1]),
      line("Median certified radius", days, medians, radius)),
    h("details", h("summary", "The same as a table"),
      table("Certificates by day", ["Day", "Certificates", "Abstained", "Share", "Median radius", "10% to 90%"], rows.map((row, index) => [
        row.day, count(row.certificates), count(row.abstentions), percent(shares[index]),
        row.radius ? radius(row.radius.p50) : "none", row.radius ? `${radius(row.radius.p10)} to ${radius(row.radius.p90)}` : "none",
      ]))),
  ];
}

function line(words, days, values, shown, range = null) {
  const known = values.filter((value) => value !== null);
  const said = known.length ? `from ${shown(Math.min(...known))} to ${shown(Math.max(...known))} over ${count(known.length)} ${known.length === 1 ? "day" : "days"}, last ${shown(known.at(-1))}` : "none in this period";
  const place = h("div.chart.low", { role: "img", "aria-label": `${words}: ${said}` });
  drawChart(place, HEIGHT, [days, values], ({ axis, accent }) => ({
    scales: {
      x: { time: false, range: (_, first, last) => [first - DAY_S, last + DAY_S] },
      y: { range: range ?? ((_, __, most) => [0, (most || 1) * 1.1]) },
    },
    axes: [
      { ...axis, incrs: [1, 2, 7, 14, 30, 90].map((each) => each * DAY_S), space: 72, values: (_, ticks) => ticks.map((tick) => new Date(1000 * tick).toISOString().slice(5, 10)) },
      { ...axis, size: 56, values: (_, ticks) => ticks.map((tick) => range ? percent(tick) : tick.toFixed(2)) },
    ],
    series: [{}, { stroke: accent, width: 2, points: { show: true, size: 6, fill: accent } }],
  }));
  return h("div", h("h3", words), place);
}
