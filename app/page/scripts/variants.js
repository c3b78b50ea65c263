// What other renderings of the same file show, and the one that shows least.

import { h } from "./dom.js";
import { radius } from "./format.js";
import { table } from "./table.js";

const HELD = { true: "The class was shown for all of them", false: "Not shown for all of them", null: "Not sampled, because the certificate abstains" };

/** Returns the card about the variants of a result. */
export function variants({ variants: found }) {
  const heads = ["Rendering", "Most frequent answer", "Samples with the class", "Radius of this row"];
  const rows = found.rows.map((row) => [row.name, row.label, `${row.agreeing} of ${row.samples}`, row.radius ? radius(row.radius) : "none"]);
  return h("section.card", h("h2", "Other renderings of this file"),
    h("p", h("strong", HELD[String(found.held)]), found.asked_radius ? ` (asked for: radius ${found.asked_radius})` : null),
    h("p.small", found.text),
    found.rows.length ? h("details", { open: found.held === false }, h("summary", `${found.tried} renderings`), table("Other renderings of this file", heads, rows)) : null);
}
