// What the radius means: the image, and the same image changed by an L2 norm of exactly R, with a slider between them.

import { kept } from "./api.js";
import { h, newId, show } from "./dom.js";
import { floored, radius } from "./format.js";

export function example(job) {
  const element = h("section.card", { "aria-label": "What the radius means", hidden: true });
  Promise.all([kept(job, "example"), kept(job, "input", "blob").then((content) => content && pixels(content))])
    .then(([found, image]) => { if (found && image) draw(element, found, image); })
    .catch(() => {});
  return element;
}

async function pixels(content) {
  const bitmap = await createImageBitmap(content);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

function draw(element, found, image) {
  const [rows, columns, channels] = found.shape;
  if (image.width !== columns || image.height !== rows) return;
  const difference = decode(found.difference);
  // The largest difference becomes the whole way from grey to black or white; a power of two reads best.
  const gain = 2 ** Math.max(0, Math.floor(Math.log2(0.5 / found.max_abs)));
  const panel = (label) => {
    const canvas = h("canvas", { width: columns, height: rows, role: "img", "aria-label": label });
    return { canvas, context: canvas.getContext("2d") };
  };
  const before = panel("The image as the model saw it");
  const after = panel("The same image, changed");
  const change = panel("The difference, amplified");
  before.context.putImageData(image, 0, 0);

  const id = newId("distance");
  const slider = h("input", { type: "range", id, min: 0, max: 100, step: 1, value: 100 });
  const norm = h("strong");
  const caption = h("span");
  const paint = () => {
    const share = Number(slider.value) / 100;
    const changed = new ImageData(columns, rows);
    const amplified = new ImageData(columns, rows);
    for (let pixel = 0; pixel < rows * columns; pixel += 1) {
      for (let channel = 0; channel < 3; channel += 1) {
        const delta = share * difference[pixel * channels + Math.min(channel, channels - 1)] * found.unit;
        changed.data[4 * pixel + channel] = image.data[4 * pixel + channel] + 255 * delta;
        amplified.data[4 * pixel + channel] = 127.5 + 255 * gain * delta;
      }
      changed.data[4 * pixel + 3] = amplified.data[4 * pixel + 3] = 255;
    }
    after.context.putImageData(changed, 0, 0);
    change.context.putImageData(amplified, 0, 0);
    const distance = share * found.norm;
    norm.textContent = `Changed by ${radius(distance)}`;
    caption.textContent = `by at most ${floored(255 * share * found.max_abs, 3)} of 255 grey levels`;
    slider.setAttribute("aria-valuetext", `L2 norm ${radius(distance)} of ${radius(found.radius)}`);
  };
  slider.addEventListener("input", paint);
  paint();

  element.hidden = false;
  show(element,
    h("h2", "What the radius means"),
    h("p.lead", "Every image that is closer to this one than the radius gets the same class. Move the slider to see one of them, from no difference to the whole radius."),
    h("div.example",
      h("div.example-panels",
        h("figure", before.canvas, h("figcaption", h("strong", "The image"), "as the model saw it")),
        h("figure", after.canvas, h("figcaption", norm, caption)),
        h("figure", change.canvas, h("figcaption", h("strong", `Difference × ${gain}`), `towards ${found.runner_up_label}`))),
      h("div.slider", h("label", { for: id }, "Distance from the image (L2)"), slider,
        h("div.slider-ends", h("span", "0"), h("span", `R = ${radius(found.radius)}`))),
      h("p.small.muted", found.note)));
}

function decode(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Int16Array.from({ length: bytes.length / 2 }, (_, index) => view.getInt16(2 * index, true));
}
