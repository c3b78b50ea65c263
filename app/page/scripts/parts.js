// Parts that several views share: the model input, and warnings.

import { get, kept, send } from "./api.js";
import { h, show } from "./dom.js";
import { may } from "./session.js";

/** Returns a figure of what the model saw; `load` fetches it. */
export function seenImage(id) {
  const frame = h("div.no-image", "The image appears once it is decoded");
  const element = h("figure.seen", frame, h("figcaption", "What the model saw: resized, cropped, in its window"));
  let asked = false;
  return {
    element,
    /** Fetches it; of an ended job only while it is kept. */
    async load(job = null) {
      if (asked) return;
      if (!may("read")) return show(frame, "Your key cannot read the image: it lacks the scope read.");
      asked = true;
      try {
        const content = job ? await kept(job, "input", "blob") : await (await send(`/jobs/${id}/input`)).blob();
        if (content === null) return show(frame, "The image is no longer kept. The certificate stays.");
        const address = URL.createObjectURL(content);
        const image = h("img", { alt: "Model input of this job", src: address });
        const release = () => URL.revokeObjectURL(address);
        image.addEventListener("load", release, { once: true });
        image.addEventListener("error", release, { once: true });
        frame.replaceWith(image);
      } catch (problem) {
        asked = problem.status !== 409; // not decoded yet: asked again later
      }
    },
  };
}

/** Returns the warnings as a message, or null without any. */
export function warningList(warnings) {
  if (!warnings?.length) return null;
  return h("div.message.warning", { role: "note" },
    h("h2", "Before you read the result"),
    h("ul", warnings.map(({ code, message }) => h("li", { "data-code": code }, message))));
}

/** Returns rows of a table of two columns. */
export function factTable(caption, rows, visible = false) {
  return h("table.units",
    h(visible ? "caption" : "caption.visually-hidden", caption),
    h("tbody", rows.filter(([, value]) => value !== null && value !== undefined).map(([name, value]) => h("tr", h("th", { scope: "row" }, name), h("td", value)))));
}

/** Returns the certificate document of a job. */
export const certificateDocument = (id) => get(`/jobs/${id}/certificate`);
