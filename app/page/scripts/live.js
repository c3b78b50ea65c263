// The live run: phase, samples, class counts and what they would show, until the job ends.

import { classBars } from "./bars.js";
import { announce, h, show } from "./dom.js";
import { count, duration, moment, PHASES, radius } from "./format.js";
import { seenImage, warningList } from "./parts.js";
import { problemMessage, sentence } from "./problem.js";
import { may } from "./session.js";

const STEPS = [
  ["Decode", ["queued", "decoding", "unpacking"]],
  ["Load", ["waiting", "loading", "adapting"]],
  ["Choose class", ["selecting", "attacking"]],
  ["Bound", ["estimating", "tuning", "evaluating"]],
  ["Finish", ["finishing", "done"]],
];
const ANNOUNCED = 0.25; // of the samples between two sentences to a screen reader

export function liveRun(job, cancel) {
  const certifies = job.request.kind === "certify";
  const began = new Date(job.created_at).getTime();
  const heading = h("h1", { tabindex: -1 }, PHASES[job.progress.phase] ?? job.progress.phase);
  const steps = STEPS.map(([word]) => h("li", word));
  const meter = h("progress.meter", { max: 1, "aria-label": "Progress" });
  const done = h("dd", "–");
  const elapsed = h("dd", "–");
  const left = h("dd", "–");
  const bound = h("div.figure", { hidden: true });
  const expected = h("p.small.muted", { "data-estimate": "" });
  const warnings = h("div", warningList(job.warnings));
  const seen = seenImage(job.id);
  const outcome = h("div");
  const names = certifies ? job.request.classifier.class_names : [];
  const bars = classBars(names, "Noisy samples in each class so far");
  const button = h("button.button", { type: "button", hidden: !may(certifies ? "submit" : "tune") }, "Cancel");
  let announced = 0;
  let sampled = null;
  let closed = false;

  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await cancel();
      announce("The job is being cancelled.");
    } catch (problem) {
      button.disabled = false;
      show(outcome, problemMessage(problem));
    }
  });

  const ticking = setInterval(() => {
    if (!element.isConnected) return clearInterval(ticking);
    show(elapsed, duration((Date.now() - began) / 1000));
  }, 1000);

  const element = h("section.card.stack", { "aria-busy": "true", "data-live": job.id },
    h("div.row.between", h("div", h("span.badge.running", "Running"), heading), button),
    h("ol.phases", { "aria-label": "Phases" }, steps),
    meter,
    h("dl.figures",
      h("div.figure", h("dt", certifies ? "Noisy samples" : "Progress"), done),
      h("div.figure", h("dt", "Elapsed"), elapsed),
      h("div.figure", h("dt", "Remaining, about"), left),
      bound),
    expected,
    warnings, outcome,
    certifies && h("div.result", seen.element, h("div",
      h("h2", "Class of each noisy sample"),
      h("p.small.muted", "An estimate that is still growing, not a certificate."),
      bars.element)));

  const phase = ({ phase: now, warnings: codes }) => {
    show(heading, PHASES[now] ?? now);
    const place = STEPS.findIndex(([, phases]) => phases.includes(now));
    steps.forEach((step, index) => {
      step.className = index < place ? "done" : index === place ? "now" : "";
      if (index === place) step.setAttribute("aria-current", "step");
      else step.removeAttribute("aria-current");
    });
    announce(`${PHASES[now] ?? now}.`);
    if (codes !== undefined) seen.load();
    if (codes?.length) show(warnings, warningList(codes.map((code) => ({ code, message: code.replaceAll("_", " ") }))));
  };
  phase({ phase: job.progress.phase });
  if (["loading", "adapting", "selecting", "estimating", "waiting"].includes(job.progress.phase)) seen.load();

  const showBound = ({ running_radius: proved, running_bound: estimate }) => {
    if (proved !== undefined && proved !== null) {
      bound.hidden = false;
      show(bound, h("dt", "Radius proved so far"), h("dd", radius(proved), h("small", ` of ${job.request.params.target_radius}`)));
    } else if (estimate) {
      const { radius_if_ended_now: now } = estimate;
      bound.hidden = false;
      show(bound, h("dt", "If it ended now (estimate)"), h("dd", now === null ? "no radius" : radius(now)));
    }
  };

  const progress = (data) => {
    if (closed) return;
    const [now, total, unit] = data.samples_total !== undefined
      ? [data.samples_done, data.samples_total, "samples"]
      : data.images_total ? [data.images_done, data.images_total, "images"] : [data.epochs_done ?? 0, data.epochs_total ?? 0, "epochs"];
    if (!total) return;
    meter.max = total;
    meter.value = now;
    show(done, count(now), h("small", ` of ${count(total)}${unit === "samples" ? "" : ` ${unit}`}`));
    const at = Date.now();
    sampled ??= { at, now };
    if (now > sampled.now && at > sampled.at + 400) show(left, duration(((total - now) / (now - sampled.now)) * (at - sampled.at) / 1000));
    if (data.counts) bars.set(data.counts);
    showBound(data);
    const share = now / total;
    if (share >= announced + ANNOUNCED) {
      announced = share - (share % ANNOUNCED);
      announce(`${Math.round(100 * share)} percent of the ${unit} are done.`);
    }
  };
  progress(job.progress);

  const estimate = ({ estimate: found }) => show(expected, found ? estimateWords(found) : "");
  estimate(job);

  return { element, phase, progress, estimate, close() { closed = true; clearInterval(ticking); button.disabled = true; } };
}

function estimateWords({ wait_seconds: wait, run_seconds: run, ends_at: end, reason }) {
  const words = [
    wait ? `about ${duration(wait)} until an engine has it` : "",
    run === null ? "" : `about ${duration(run)} of work`,
    end === null ? "" : `done at about ${moment(end)}`,
  ].filter(Boolean).join(", ");
  return `${words ? `${sentence(words)}. ` : ""}${reason ? `${sentence(reason)}. ` : ""}An estimate, not a promise.`;
}
