// Other renderings of the file that are to have the class too, as choices that become the field `variants`.

import { h, newId } from "./dom.js";
import { number, text } from "./fields.js";

/** Returns the fields `variants`, `variant_radius` and `variant_n`, folded in one element. */
export function variantFields() {
  const header = checkbox("Every window of the header", "Of a DICOM file: all windows and tables that it offers");
  const centre = number("box_centre", "Window box: centre ±", { min: 0, step: "any" }, "In HU, or in the file's values after the rescale");
  const width = number("box_width", "Window box: width ×", { min: 1, step: "any" }, "1.28 stands for every width from W / 1.28 to 1.28 W");
  const qualities = text("jpeg_qualities", "JPEG qualities", "90, 50", "The image through JPEG, at each of these qualities");
  const shift = number("shift_pixels", "Moved by up to", { min: 1, max: 16, step: 1 }, "Whole pixels in every direction: 8 renderings for 1, 24 for 2");
  const radius = number("variant_radius", "Radius at each of them", { min: 0, step: "any" }, "Empty: the class only");
  const samples = number("variant_n", "Samples of each of them", { min: 10, max: 1000000, step: 1 }, "Empty: the fewest that can show it; 100 or more forgive single differences");
  const refused = h("p.refused", { role: "alert", hidden: true });

  const lists = () => {
    const found = [];
    if (header.input.checked) found.push({ kind: "windows", windows: "header" });
    if (centre.value() || width.value()) found.push({ kind: "window_box", centre: Number(centre.value() || 0), width: Number(width.value() || 1) });
    if (qualities.value()) found.push({ kind: "jpeg", quality: qualities.value().split(/[\s,;]+/).filter(Boolean).map(Number) });
    if (shift.value()) found.push({ kind: "shift", pixels: Number(shift.value()) });
    return found;
  };
  const chosen = h("span.small.muted");
  const element = h("details", { "data-variants": "" },
    h("summary", "Other renderings that must have the class too ", chosen),
    h("div.stack-tight",
      h("p.small", "The certificate then says whether the class is the same in every rendering that you name here. Choose them before you look: another choice is another attempt, with new noise."),
      header.element,
      h("div.fields", [centre, width, qualities, shift, radius, samples].map((each) => each.element)),
      refused));
  element.addEventListener("input", () => {
    const { length } = lists();
    chosen.textContent = length ? `(${length} ${length === 1 ? "list" : "lists"})` : "";
  });

  const variants = {
    element: header.element,
    value: () => lists().length ? JSON.stringify(lists()) : "",
    focus: () => header.input.focus(),
    refuse(reason) {
      refused.textContent = reason;
      refused.hidden = !reason;
    },
  };
  return { element, fields: { variants, variant_radius: radius, variant_n: samples } };
}

function checkbox(label, words) {
  const id = newId("check");
  const input = h("input", { type: "checkbox", id, "aria-describedby": `${id}-hint` });
  return { input, element: h("div.check", input, h("div.field", h("label", { for: id }, label), h("p.hint", { id: `${id}-hint` }, words))) };
}
