// A slider over renderings: the image as it was sent beside one of them, and what its samples show.

import { kept } from "./api.js";
import { h, newId, show } from "./dom.js";
import { count, radius } from "./format.js";
import { may } from "./session.js";
import { windowMap, windowsOf } from "./window_map.js";

/** Returns a viewer of the variants of a job; `shows` says of a row whether its samples show the class; `unsmoothed`: its only answer is one without noise. */
export function variantViewer(job, shows, unsmoothed) {
  const { rows, counterexample } = job.result.variants;
  const least = counterexample === null ? -1 : rows.findIndex((row) => row.input_sha256 === counterexample.input_sha256 && row.name === counterexample.name);
  const windows = windowsOf(rows);
  const images = imagePair(job);
  const facts = h("dl.figures", { "data-row": "" });
  const map = windows && windowMap(windows, rows.map(shows));
  let place = Math.max(0, least);

  const sliders = windows ? boxSliders(rows, windows, words, choose) : [listSlider(rows, words, choose)];
  const others = windows && windows.others.length ? otherRows(rows, windows.others, choose) : null;
  const back = least < 0 ? null : h("button.button", { type: "button", onclick: () => choose(least) }, "Show the counterexample");

  function words(index) {
    const row = rows[index];
    if (unsmoothed) return `${row.name}: the answer without noise is ${row.label}`;
    return `${row.name}: the class is ${shows(row) ? "shown" : "not shown"}, ${row.agreeing} of ${row.samples} samples, most frequent answer ${row.label}`;
  }

  function choose(index) {
    place = index;
    const row = rows[place];
    if (unsmoothed) show(facts, fact("Rendering", row.name), fact("Answer without noise", h(`span.${shows(row) ? "shown" : "not-shown"}`, row.label)));
    else show(facts,
      fact("Rendering", row.name),
      fact("The class here is", shows(row) ? h("span.shown", "shown") : h("span.not-shown", "not shown")),
      fact("Samples with the class", `${count(row.agreeing)} of ${count(row.samples)}`),
      fact("Most frequent answer", row.label),
      fact("Radius of this row", row.radius ? radius(row.radius) : "none"));
    for (const slider of [...sliders, others]) slider?.place(place);
    map?.place(place);
    images.place(place, row.name);
  }
  choose(place);

  return h("div.viewer",
    h("div.stack-tight", images.element, map?.element),
    h("div.stack-tight",
      sliders.map(({ element }) => element), others?.element,
      facts,
      h("p.small.muted", unsmoothed ? "Answers without noise are no proof: a near-tie may fall the other way on another machine." : "Rows are data. The certificate claims only what it says about all of them together."),
      back && h("div.row", back)));
}

function fact(name, value) {
  return h("div.figure-small", h("dt", name), h("dd", value));
}

/** Returns a slider that steps through the rows in their order. */
function listSlider(rows, words, choose) {
  const windowed = rows.every(({ rendering }) => rendering.kind.startsWith("window"));
  const slider = stepper(windowed ? "Window" : "Rendering", rows.length, choose);
  return { element: slider.element, place: (index) => slider.show(index, words(index), `${index + 1} of ${rows.length}`) };
}

/** Returns a list of the renderings that are no windows of a box. */
function otherRows(rows, places, choose) {
  const id = newId("others");
  const input = h("select", { id }, h("option", { value: "" }, "a window of the box"), places.map((place) => h("option", { value: place }, rows[place].name)));
  input.addEventListener("change", () => { if (input.value) choose(Number(input.value)); });
  return {
    element: h("div.field", h("label", { for: id }, "Other renderings"), input),
    place(index) { input.value = places.includes(index) ? String(index) : ""; },
  };
}

/** Returns two sliders over the cells of a box of windows: the width, and the centre at that width. */
function boxSliders(rows, { widths }, words, choose) {
  const at = { width: 0, centre: 0 };
  const go = () => choose(widths[at.width].cells[at.centre].index);
  const nearest = (cells, centre) => cells.reduce((best, cell, index) => Math.abs(cell.centre - centre) < Math.abs(cells[best].centre - centre) ? index : best, 0);
  const width = stepper("Window width", widths.length, (step) => {
    const { centre } = widths[at.width].cells[at.centre];
    at.width = step;
    at.centre = nearest(widths[step].cells, centre);
    go();
  });
  const centre = stepper("Window centre", 1, (step) => { at.centre = step; go(); });
  const place = (index) => {
    const found = widths.findIndex(({ cells }) => cells.some((cell) => cell.index === index));
    if (found >= 0) {
      at.width = found;
      at.centre = widths[found].cells.findIndex((cell) => cell.index === index);
    }
    const { width: value, cells } = widths[at.width];
    const said = found < 0 ? "another rendering is shown" : words(index);
    centre.range(cells.length);
    width.show(at.width, said, number(value));
    centre.show(at.centre, said, number(cells[at.centre].centre));
  };
  return [{ element: width.element, place }, { element: centre.element, place: () => {} }];
}

/** Returns a labelled range input from 0 to a number of steps. */
function stepper(label, steps, moved) {
  const id = newId("rendering");
  const value = h("output", { for: id });
  const input = h("input", { type: "range", id, min: 0, max: Math.max(0, steps - 1), step: 1, value: 0, disabled: steps < 2 });
  input.addEventListener("input", () => moved(Number(input.value)));
  return {
    element: h("div.slider", h("div.row.between", h("label", { for: id }, label), value), input),
    range(most) {
      input.max = Math.max(0, most - 1);
      input.disabled = most < 2;
    },
    show(step, said, words) {
      if (step >= 0) input.value = step;
      input.setAttribute("aria-valuetext", said);
      value.textContent = words;
    },
  };
}

const number = (value) => String(Number(value.toPrecision(6)));

/** Returns the image as it was sent beside a rendering, once both are loaded; text where they are not kept. */
function imagePair(job) {
  const own = panel("As it was sent");
  const other = panel("This rendering");
  const element = h("div.viewer-panels", own.element, other.element);
  let pictures = null;
  let now = [0, ""];
  const paint = () => {
    if (pictures === null) return;
    const [index, name] = now;
    const content = pictures[index];
    other.image(content ? bytes(content) : null, `Model input of ${name}`, name);
  };
  if (!may("read")) {
    for (const each of [own, other]) each.text("Your key cannot read images: it lacks the scope read.");
  } else {
    kept(job, "input", "blob").then((found) => own.image(found, "Model input of the file as it was sent", "in the window of the request")).catch(() => own.image(null));
    kept(job, "renderings").then((found) => { pictures = found?.images ?? []; paint(); }).catch(() => { pictures = []; paint(); });
  }
  return { element, place(index, name) { now = [index, name]; paint(); } };
}

function panel(title) {
  const frame = h("div.no-image", "Loading…");
  const caption = h("span");
  const image = h("img", { alt: "" });
  let address = null;
  image.addEventListener("load", () => { URL.revokeObjectURL(address); });
  const element = h("figure", frame, h("figcaption", h("strong", title), caption));
  return {
    element,
    text: (words) => show(frame, words),
    image(content, alt = "", words = "") {
      caption.textContent = words;
      if (content === null) {
        show(frame, "The image is not kept. The numbers are.");
        if (image.isConnected) image.replaceWith(frame);
        return;
      }
      address = URL.createObjectURL(content);
      image.alt = alt;
      image.src = address;
      if (frame.isConnected || frame.parentNode) frame.replaceWith(image);
    },
  };
}

function bytes(text) {
  return new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))], { type: "image/png" });
}
