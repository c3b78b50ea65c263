// One job: its live run, and what it ended in. The address holds the job's id, so a reload goes on where it was.

import { get, isAskingForKey, Problem, send } from "./api.js";
import { announce, h, newId, show } from "./dom.js";
import { moment } from "./format.js";
import { liveRun } from "./live.js";
import { problemMessage } from "./problem.js";
import { resultView } from "./result.js";
import { may } from "./session.js";

const RETRY_MS = 3000;
const ESTIMATE_MS = 5000;

export function jobView(id) {
  const body = h("div", h("p.empty", "Loading…"));
  const made = h("span");
  const element = h("div",
    h("nav.crumbs", { "aria-label": "Job" }, h("a", { href: "#/jobs" }, "Jobs"), h("code", id.slice(0, 8)), made, may("submit", "tune") && eraseButton(id, () => stop())), body);
  let source = null;
  let timer = null;
  let open = true;
  let following = false;
  let live = null;
  let asking = null;

  const stop = () => {
    open = false;
    clearTimeout(timer);
    clearInterval(asking);
    source?.close();
  };

  const load = async () => {
    try {
      const job = await get(`/jobs/${id}`);
      if (!open) return;
      show(made, moment(job.created_at), job.reference ? [" · Reference: ", h("strong", job.reference)] : null);
      if (["succeeded", "failed", "cancelled"].includes(job.status)) finish(job);
      else if (!following) follow(job);
      else {
        live.estimate(job);
        if (source.readyState === EventSource.CLOSED) listen();
      }
    } catch (problem) {
      if (!open) return;
      if (problem instanceof Problem && (problem.status === 0 || problem.status === 503)) {
        if (!following) show(body, problemMessage(problem));
        return later();
      }
      show(body, h("div.stack", problemMessage(problem, "h1"), h("p.row", h("a.button", { href: "#/" }, "Certify an image"))));
    }
  };
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(load, RETRY_MS);
  };

  const finish = (job) => {
    const watched = following;
    stop();
    const took = holdsFocus(watched);
    show(body, resultView(job));
    const heading = body.querySelector("h1");
    if (watched) announce(`The job has ended: ${heading?.textContent ?? job.status}.`);
    if (took) heading?.focus();
  };

  // Where the reader is: at nothing but this view, which now changes under them.
  const holdsFocus = (watched) => {
    const at = document.activeElement;
    return at.id === "main" || body.contains(at) || (watched && at === document.body);
  };

  const follow = (job) => {
    following = true;
    live = liveRun(job, () => send(`/jobs/${id}`, { method: "DELETE" }));
    const took = holdsFocus(false);
    show(body, live.element);
    if (took) live.element.querySelector("h1").focus();
    asking = setInterval(() => { if (!isAskingForKey() && source.readyState !== EventSource.CLOSED) load(); }, ESTIMATE_MS);
    listen();
  };

  const listen = () => {
    source = new EventSource(`/jobs/${id}/events`);
    source.addEventListener("phase", (event) => live.phase(JSON.parse(event.data)));
    source.addEventListener("progress", (event) => live.progress(JSON.parse(event.data)));
    source.addEventListener("end", () => {
      source.close();
      live.close();
      load();
    });
    // The browser connects again by itself; after a refusal it does not, and the job says why.
    source.addEventListener("error", () => { if (source.readyState === EventSource.CLOSED) later(); });
  };

  load();
  return { element, title: "Job", close: stop };
}

function eraseButton(id, erased) {
  const label = newId("erase");
  const outcome = h("div");
  const dialog = h("dialog", { "aria-labelledby": label },
    h("div.stack",
      h("h2", { id: label }, "Erase this job?"),
      h("p.small", "This deletes its record, the images of what the model saw, and its reports. A running job is cancelled first. Reports that were stored in the PACS stay there. The certificate stays too; it names no patient."),
      outcome,
      h("div.row",
        h("button.button", { type: "button", onclick: () => dialog.close() }, "Keep it"),
        h("button.button.primary", { type: "button", onclick: erase }, "Erase"))));
  async function erase() {
    try {
      const response = await send(`/jobs/${id}`, { method: "DELETE" });
      if (response.status !== 204) await send(`/jobs/${id}`, { method: "DELETE" });
      erased();
      dialog.close();
      location.hash = "#/jobs";
    } catch (problem) {
      show(outcome, problemMessage(problem, "h3"));
    }
  }
  return [h("button.link", { type: "button", onclick: () => dialog.showModal() }, "Erase…"), dialog];
}
