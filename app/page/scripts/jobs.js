// The jobs of this installation, newest first.

import { get, isAskingForKey } from "./api.js";
import { h, show } from "./dom.js";
import { count, isUnlike, moment, radius, spaced, state } from "./format.js";
import { problemMessage } from "./problem.js";
import { lacking } from "./session.js";

const SHORT = 6;
const REFRESH_MS = 5000;

/** Returns a card with the last few jobs, which stays up to date until it is closed. */
export function recentJobs() {
  const list = h("div", h("p.empty", "Loading…"));
  const element = h("section.card", { "aria-labelledby": "recent" },
    h("div.row.between", h("h2", { id: "recent" }, "Recent jobs"), h("a.small", { href: "#/jobs" }, "All jobs")), list);
  const reason = lacking("list jobs", "read");
  if (reason) {
    show(list, reason);
    return { element, close() {} };
  }
  let shown = "";
  const refresh = async () => {
    if (isAskingForKey()) return;
    try {
      const { jobs } = await get(`/jobs?limit=${SHORT}`);
      const text = JSON.stringify(jobs.map(({ id, status, progress }) => [id, status, progress.phase]));
      if (text === shown) return; // else focus would be lost in a list that says the same
      shown = text;
      show(list, jobs.length ? jobList(jobs) : h("p.empty", "No job yet. The first one appears here."));
    } catch (problem) {
      shown = "";
      show(list, problemMessage(problem, "h3"));
    }
  };
  refresh();
  const timer = setInterval(refresh, REFRESH_MS);
  return { element, close: () => clearInterval(timer) };
}

export function jobsView() {
  const list = h("div.card", h("p.empty", "Loading…"));
  const items = h("ul.jobs");
  const more = h("button.button", { type: "button" }, "Show older jobs");
  let cursor = null;
  const load = async () => {
    try {
      const { jobs, next } = await get(`/jobs?limit=25${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
      const first = cursor === null;
      cursor = next;
      const added = jobs.map(jobItem);
      items.append(...added);
      more.hidden = next === null;
      if (first) show(list, jobs.length ? [items, more] : h("p.empty", "No job yet. Certify an image to make the first one."));
      else added[0]?.querySelector("a").focus();
    } catch (problem) {
      show(list, problemMessage(problem));
    }
  };
  more.addEventListener("click", load);
  const reason = lacking("list jobs", "read");
  if (reason) show(list, reason);
  else load();
  const element = h("div",
    h("div.page-head", h("div", h("h1", { tabindex: -1 }, "Jobs"), h("p", "Every job that there is still a record of, newest first.")),
      h("a.button.primary", { href: "#/" }, "Certify an image")),
    list);
  return { element, title: "Jobs" };
}

function jobList(jobs) {
  return h("ul.jobs", jobs.map(jobItem));
}

function jobItem(job) {
  const [kind, word] = state(job);
  return h("li", h("a.job", { href: `#/jobs/${job.id}` },
    h("span.job-title", title(job)),
    h(`span.badge.${kind}`, word),
    h("span.job-facts", ...jobFacts(job).map((fact) => h("span", fact)))));
}

function title(job) {
  if (isUnlike(job.result)) return "No class";
  if (job.result?.outcome === "certified") return job.result.label;
  if (job.result?.outcome === "abstained") return "No class";
  if (job.status === "failed") return job.error?.title ?? "Failed";
  return job.request.kind === "certify" ? job.request.task ?? "own classes" : "Tuning of a prompt";
}

function jobFacts(job) {
  const facts = [moment(job.created_at)];
  if (job.result?.outcome === "certified") facts.push(`radius ${radius(job.result.radius)}`);
  if (job.result?.outcome === "abstained") facts.push(spaced(job.result.reason));
  if (job.request.kind === "certify") facts.push(`${count(job.request.params.n)} samples`);
  return facts;
}
