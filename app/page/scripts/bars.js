// Class counts as bars: a table, so that a screen reader reads names and numbers.

import { h, svg } from "./dom.js";
import { count } from "./format.js";

const SHOWN = 12;

/** Returns an element and a function that sets its counts. */
export function classBars(names, caption) {
  const body = h("tbody");
  const element = h("table.bars", h("caption.visually-hidden", caption), body);
  const rows = names.map((name) => {
    const rect = svg("rect", { x: 0, y: 0, width: 0, height: 12 });
    const number = h("td.count", "0");
    const row = h("tr",
      h("th", { scope: "row", title: name }, name),
      h("td", { "aria-hidden": "true" }, svg("svg", { viewBox: "0 0 100 12", preserveAspectRatio: "none" }, rect)),
      number);
    return { row, rect, number };
  });
  const set = (counts) => {
    const sum = counts.reduce((a, b) => a + b, 0);
    const most = Math.max(...counts);
    const order = counts.map((value, index) => index);
    if (names.length > SHOWN) order.sort((a, b) => counts[b] - counts[a]);
    body.replaceChildren(...order.slice(0, SHOWN).map((index) => {
      const { row, rect, number } = rows[index];
      rect.setAttribute("width", sum ? (100 * counts[index]) / sum : 0);
      number.textContent = count(counts[index]);
      row.className = most > 0 && counts[index] === most ? "first" : "";
      return row;
    }));
    if (names.length > SHOWN) body.append(h("tr", h("td.muted", { colspan: 3 }, `and ${names.length - SHOWN} classes with fewer`)));
  };
  set(names.map(() => 0));
  return { element, set };
}
