// The start: an image, its settings, and beside them what was done lately.

import { facts, find, get, Problem, send } from "./api.js";
import { announce, h, show } from "./dom.js";
import { imageField } from "./image_field.js";
import { recentJobs } from "./jobs.js";
import { problemMessage } from "./problem.js";
import { settingsFields } from "./settings.js";
import { workersCard } from "./service.js";
import { lacking } from "./session.js";

let form = null; // kept while the tab is open: a user who comes back finds the image and the settings

export function certifyView() {
  form ??= certifyForm();
  const recent = recentJobs();
  const workers = workersCard();
  const element = h("div",
    h("div.page-head", h("div",
      h("h1", { tabindex: -1 }, "Certify an image"),
      h("p", "Get a class and a radius: no change of the pixels smaller than that radius changes the class. Or learn that this cannot be shown for the image."),
    )),
    h("div.columns", form, h("div.stack", recent.element, workers.element)),
  );
  return { element, title: "Certify an image", close: () => { recent.close(); workers.close(); } };
}

function certifyForm() {
  const image = imageField();
  const settings = h("div.stack", h("p.empty", "Loading tasks and models…"));
  const outcome = h("div");
  const reason = lacking("submit images", "submit");
  if (reason) reason.id = "no-submit";
  const button = h("button.button.primary", { type: "submit", disabled: reason !== null, "aria-describedby": reason?.id }, "Certify image");
  let fields = null;
  const element = h("form.certify.card", { novalidate: true, "aria-label": "Certify an image" },
    image.element, settings, outcome, reason, h("div.row", button, h("p.small.muted", "The file name stays in your browser.")));
  choices().then((found) => {
    fields = settingsFields(found);
    show(settings, fields.element);
  }).catch((problem) => show(settings, problemMessage(problem)));

  element.addEventListener("submit", async (event) => {
    event.preventDefault();
    show(outcome);
    fields?.clear();
    const file = image.file();
    if (!file) return image.refuse("Choose an image first.");
    if (!fields) return;
    const { max_body_bytes: largest } = await facts();
    if (file.size > largest) {
      return image.refuse(`The file has ${Math.ceil(file.size / 2 ** 20)} MB; this service takes ${Math.floor(largest / 2 ** 20)} MB at most.`);
    }
    button.disabled = true;
    button.textContent = "Sending…";
    try {
      const response = await submit(await file.arrayBuffer(), fields.values());
      const { id } = await response.json();
      announce("The image was accepted.");
      location.hash = `#/jobs/${id}`;
    } catch (problem) {
      const body = problem instanceof Problem ? problem.body : {};
      fields.refuse(body.errors ?? []);
      show(outcome, problemMessage(problem));
      outcome.scrollIntoView({ block: "nearest" });
    } finally {
      button.disabled = false;
      button.textContent = "Certify image";
    }
  });
  return element;
}

/** Sends the image without its file's name, and a reference in the body alone: both may name a patient, and addresses are logged. */
function submit(image, { reference, ...values }) {
  const query = new URLSearchParams(values);
  if (!reference) {
    return send(`/certify?${query}`, { method: "POST", body: image, headers: { "Content-Type": "application/octet-stream" } });
  }
  const body = new FormData();
  body.append("reference", reference);
  body.append("image", new Blob([image]), "image");
  return send(`/certify?${query}`, { method: "POST", body });
}

async function choices() {
  const [{ tasks }, { backbones }, { prompts }, known] = await Promise.all([
    get("/tasks"), get("/backbones"), get("/prompts"), find("/page/service.json"),
  ]);
  return { tasks, backbones, prompts, defaultTask: known?.default_task };
}
