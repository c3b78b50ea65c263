// What other renderings of the same file show: the claim about all of them, a slider over them, and every row.

import { h } from "./dom.js";
import { count, radius } from "./format.js";
import { variantViewer } from "./variant_viewer.js";
import { table } from "./table.js";

const HELD = {
  true: ["certified", "Shown for all", "The class was shown for every one of them."],
  false: ["failed", "Not shown for all", "The class was not shown for all of them."],
  null: ["abstained", "Not sampled", "None of them was sampled, because no class is certified."],
};
const UNSMOOTHED = {
  true: ["abstained", "Same answer without noise", "The base classifier, without noise, gives this answer for every one of them. That is no proof, and has no radius."],
  false: ["failed", "Other answers without noise", "The base classifier, without noise, does not give this answer for all of them."],
  null: ["abstained", "Not tried", "None of them was tried, because no class is certified."],
};
const HEADS = ["Rendering", "Most frequent answer", "Samples with the class", "Radius of this row", "Class"];

/** Returns the card about the variants of a job's result. */
export function variants(job) {
  const { variants: found, label } = job.result;
  const unsmoothed = found.base === "unsmoothed";
  const [badge, word, sentence] = (unsmoothed ? UNSMOOTHED : HELD)[String(found.held)];
  const shows = (row) => unsmoothed ? row.agreeing === row.samples : row.radius > 0 && row.radius >= found.asked_radius;
  const rows = found.rows.map((row) => [row.name, row.label, `${count(row.agreeing)} of ${count(row.samples)}`, row.radius ? radius(row.radius) : "none", shows(row) ? "shown" : "not shown"]);
  return h("section.card.stack", { "aria-label": "Other renderings of this file", "data-held": String(found.held) },
    h("h2", "Other renderings of this file"),
    h("div.stack-tight", h("p", h(`span.badge.${badge}`, word)),
      h("p", h("strong", sentence),
        found.held && !unsmoothed ? ` Smallest radius of the ${count(found.tried)}: ${radius(found.radius)}.` : null,
        found.asked_radius ? ` Asked for at each: a radius of ${found.asked_radius}.` : null)),
    (found.boxes ?? []).map((box) => h("p.small", { "data-box": "" },
      `Window box: every centre from ${short(box.centre[0])} to ${short(box.centre[1])} and every width from ${short(box.width[0])} to ${short(box.width[1])}, in the file's values. All of them are rounded to ${count(box.cells)} windows${found.rows.length ? ", and each of these was tried" : ""}.`)),
    found.counterexample && counterexample(found.counterexample, label, unsmoothed),
    found.rows.length ? variantViewer(job, shows, unsmoothed) : null,
    h("p.small", found.text),
    found.rows.length ? h("details", h("summary", `All ${count(found.tried)} renderings as a table`), unsmoothed ? table("Every rendering", HEADS.slice(0, 2), rows.map((row) => row.slice(0, 2))) : table("Every rendering", HEADS, rows)) : null);
}

const short = (value) => String(Number(value.toPrecision(7)));

function counterexample(row, label, unsmoothed) {
  if (unsmoothed) {
    return h("div.message.warning", { "data-counterexample": "" },
      h("h3", `Counterexample: ${row.name}`), h("p", `Its answer without noise is ${row.label}, and not ${label}.`));
  }
  return h("div.message.warning", { "data-counterexample": "" },
    h("h3", `Counterexample: ${row.name}`),
    h("p", `${count(row.agreeing)} of its ${count(row.samples)} samples have the class ${label}; the most frequent answer is ${row.label}. It means that the class was not shown there, and not that another class is right.`));
}
