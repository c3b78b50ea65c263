// What a job ended in: a certificate, an abstention, a failure, a cancellation, or a tuned prompt.

import { assessment } from "./assessment.js";
import { classBars } from "./bars.js";
import { curve } from "./curve.js";
import { details } from "./details.js";
import { h, show } from "./dom.js";
import { downloads } from "./downloads.js";
import { example } from "./example.js";
import { count, floored, isUnlike, percent, radius, REASONS, SCOPES, spaced } from "./format.js";
import { certificateDocument, factTable, seenImage, warningList } from "./parts.js";
import { predictionSet } from "./prediction_set.js";
import { problemMessage } from "./problem.js";
import { lacking, may } from "./session.js";
import { parameters } from "./parameters.js";
import { variants } from "./variants.js";

/** Returns the view of an ended job. */
export function resultView(job) {
  if (job.status === "failed") return failed(job);
  if (job.status === "cancelled") return cancelled();
  if (job.request.kind !== "certify") return tuned(job);
  if (isUnlike(job.result)) return unlike(job);
  return job.result.outcome === "certified" ? certified(job) : abstained(job);
}

function certified(job) {
  const { result } = job;
  const onImage = result.noise_space === "image";
  return frame(job, "certified",
    h("span.badge.certified", "Certified"),
    h("h1", { tabindex: -1 }, result.label),
    h("dl.radius-figure", h("dt", `Certified radius (L2, ${onImage ? "pixels of the image" : "model input"})`), h("dd", radius(result.radius))),
    h("p.lead", `No change of ${onImage ? "the image's own pixels, before they are resized," : "the model input"} smaller than this radius changes the class. For each image that is sent, the probability that the service issues a false radius is at most `, percent(result.alpha), "."),
    result.target_radius !== null && h("p.small", `The target radius ${result.target_radius} was ${result.target_reached ? "reached" : "not reached"}.`),
    scope(result),
    imageUnits(result));
}

function unlike(job) {
  const { result } = job;
  const input = result.noise_space === "image" ? "the image's own pixels, before they are resized," : "the model input";
  return frame(job, "unlike",
    h("span.badge.unlike", "Unlike"),
    h("h1", { tabindex: -1 }, "Unlike the images this model was tuned on"),
    h("dl.radius-figure", h("dt", "Certified radius (L2)"), h("dd", radius(result.radius))),
    h("p.lead", `The service names no class. No change of ${input} smaller than this radius makes the answer one of the classes of this model. For each image that is sent, the probability that the service issues a false radius is at most `, percent(result.alpha), "."),
    h("p.small", "This is not a finding. An image of no known class does not always get this answer, and an unusual image of a known class may get it."),
    scope(result),
    imageUnits(result, "On your own image, the answer also stays for"));
}

function abstained(job) {
  const { result } = job;
  return frame(job, "abstained",
    h("span.badge.abstained", "Abstained"),
    h("h1", { tabindex: -1 }, "No class for this image"),
    h("p.lead", `${REASONS[result.reason] ?? spaced(result.reason)} So there is no class and no radius. An abstention is an answer, not an error: the service says that it cannot show more.`),
    h("div.advice", h("h2", "What you can do"), h("ul.todo.small", todo(result).map((each) => h("li", each)))));
}

function todo(result) {
  const advice = [];
  if (result.reason === "target_not_certifiable") {
    advice.push(`Ask for a smaller target radius than ${result.target_radius}, or for none: the largest that can be shown is then stated.`);
  }
  advice.push(
    `Decide beforehand how often you try: after m tries, the probability of at least one false certificate is up to m · ${percent(result.alpha)}.`,
    `Send more noisy samples than ${count(result.n)}; a close vote may then be decided.`,
    `Choose less noise than σ = ${result.sigma}, which the model bears better; the radius is then smaller, too.`,
    "Look at what the model saw. Another window, frame or region may show what you mean.",
    "Read the image yourself. An abstention says nothing about what it shows, nor whether it is of an unknown kind.");
  return advice;
}

function frame(job, kind, ...text) {
  const { result } = job;
  const seen = seenImage(job.id);
  seen.load(job);
  const bars = classBars(result.class_names, "Estimation samples in each class");
  bars.set(result.counts);
  const main = h("div.stack",
    warningList(result.warnings),
    h(`section.card.result.${kind}`, { "aria-label": "Result" }, seen.element, h("div.result-text", text)));
  const reads = may("read");
  if (kind === "certified" && reads) main.append(example(job));
  if (result.variants) main.append(variants(job));
  if (result.parameters) main.append(parameters(result));
  if (result.prediction_set) main.append(predictionSet(result));
  main.append(
    h("div.pair",
      h("section.card", h("h2", "Votes"), h("p.lead.small", `Class of each of ${count(result.n)} noisy samples at σ = ${result.sigma}.`), bars.element,
        result.invalid ? h("p.small", `${count(result.invalid)} samples had no finite answer; they count against the class.`) : null),
      reads && curve(job)),
    ...(reads ? [limits(job)] : []), details(job));
  return h("div.columns", main, h("div.stack.no-print", lacking("read certificates and reports", "read") ?? downloads(job), reads && may("submit") && assessment(job), again()));
}

function scope(result) {
  return h("div.scope", h("strong", `Scope: ${SCOPES[result.scope] ?? spaced(result.scope)}`), h("p", result.scope_text));
}

function imageUnits({ radius_in_image_units: own }, title = "On your own image, the class also stays for") {
  if (!own) return null;
  if (own.l2 === undefined) return h("p.small.muted", `There is no radius in the units of your image: ${spaced(String(own.reason ?? "not known"))}.`);
  const unit = own.unit;
  const values = own.region.rows * own.region.columns;
  // The same number of pixels twice says nothing: a change of every pixel is the most there is.
  const few = own.pixels.filter(({ max_pixels: most }) => most > 0 && most < values);
  return factTable(title, [
    ["any change of L2 norm below", `${floored(own.l2, 6)} ${plural(unit)}`],
    ["every value at once, by up to", `${floored(own.uniform_change, 4)} ${plural(unit)}`],
    ...few.map(({ change, max_pixels: most }) => [`up to ${count(most)} of ${count(values)} pixels, by`, `${change} ${change === 1 ? unit : plural(unit)}`]),
  ], true);
}

function plural(unit) {
  return unit === "HU" || unit.endsWith("s") ? unit : `${unit}s`;
}

function limits(job) {
  const body = h("div", h("p.empty", "Loading…"));
  const element = h("section.card", h("h2", "What it does not say"), body);
  certificateDocument(job.id)
    .then(({ limits: sentences }) => show(body, h("ul.limits", sentences.map((each) => h("li", each)))))
    .catch((problem) => show(body, problemMessage(problem, "h3")));
  return element;
}

function failed(job) {
  const certifies = job.request.kind === "certify";
  return h("div.narrow", h("section.card.result-text.failed",
    h("span.badge.failed", "Failed"),
    h("h1", { tabindex: -1 }, certifies ? "This image was not certified" : "No prompt was tuned"),
    h("p.lead", "The service could not work on it, and claims nothing."),
    problemMessage({ body: job.error }), again()));
}

function cancelled() {
  return h("div.narrow", h("section.card.result-text",
    h("span.badge", "Cancelled"),
    h("h1", { tabindex: -1 }, "This job was cancelled"),
    h("p.lead", "No certificate was made, and the upload was deleted."), again()));
}

function tuned(job) {
  return h("div.narrow", h("section.card.result-text",
    h("span.badge.certified", "Tuned"),
    h("h1", { tabindex: -1 }, "A prompt was tuned"),
    h("p.lead", "It can be chosen at once: ", h("code", job.result.prompt)), again()));
}

function again() {
  return h("p.no-print", h("a.button", { href: "#/" }, "Certify another image, or change settings"));
}
