// A table that scrolls in itself where it is wider than the window.

import { h } from "./dom.js";

/** Returns a table with a caption for screen readers. */
export function table(caption, heads, rows) {
  return h("div.table-scroll", { tabindex: 0, role: "region", "aria-label": caption },
    h("table.table", h("caption.visually-hidden", caption),
      h("thead", h("tr", heads.map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", rows.map((row) => h("tr", row.map((cell) => h("td", cell)))))));
}
