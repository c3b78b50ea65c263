// What noise on the window shows of the class.

import { h } from "./dom.js";
import { radius } from "./format.js";
import { table } from "./table.js";

const UNITS = { HU: " HU", "grey level": " grey levels" };
const PARTS = ["Centre alone", "Width alone", "Model input alone", "Centre and width together", "All three together"];

/** Returns the card about noise on the window of a result. */
export function parameters({ parameters: found, radius_in_image_units: own }) {
  const unit = UNITS[own?.unit] ?? "";
  const heads = ["Change", "Centre by less than", "Width within", "Model input by less than (L2)"];
  const percent = (factor) => `${(100 * factor).toFixed(2)}%`;
  const rows = found.limits.map((each, place) => [PARTS[place], each.centre ? `${each.centre}${unit}` : "unchanged",
    each.width_low < 1 ? `${percent(each.width_low)} to ${percent(each.width_high)}` : "unchanged", each.l2 ? radius(each.l2) : "unchanged"]);
  return h("section.card", h("h2", "Noise on the window"),
    h("p", h("strong", found.limits.length ? `The class was shown for windows near centre ${found.centre}${unit}, width ${found.width}${unit}` : "The class was not shown under noise on the window")),
    h("p.small", found.text),
    rows.length ? table("Changes that leave the class as it is", heads, rows) : null);
}
