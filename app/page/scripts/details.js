// Every number of a result, for readers who want to check or repeat it.

import { h } from "./dom.js";
import { count, spaced } from "./format.js";
import { factTable } from "./parts.js";

export function details(job) {
  const { result, request } = job;
  const code = (text) => text && h("code", text);
  const { classifier, noise, software } = result.provenance;
  return h("details.card", h("summary", "Details"), h("div.stack",
    factTable("Bounds and parameters", [
      ["Lower bound of the class's probability", result.p_a_lower],
      ["Upper bound of every other class's", result.p_b_upper],
      ["Noise added to", result.noise_space === "image" ? "pixels of the image" : "model input"], ["Noise σ", result.sigma], ["Failure probability α", result.alpha],
      ["Samples that chose the class, n₀", count(result.n0)], ["Samples that bound it, n", count(result.n)],
      ["Samples used", count(result.samples_used)], ["Samples without a finite answer", count(result.invalid)],
      ["Bound", spaced(result.bound)], ["Rule that decided", spaced(result.decision.rule)],
      ["Target radius", result.target_radius], ["Scope", spaced(result.scope)],
      ["Seconds to choose, to bound", `${result.timing.select_s} s, ${result.timing.estimate_s} s`],
    ], true),
    factTable("Classifier", [
      ["Task", request.task], ["Model", result.backbone], ["Adapter", code(result.adapter)], ["Prompt", code(result.prompt)], ["Adaptation", spaced(result.adaptation)],
      ["Precision", classifier.dtype], ["Device", classifier.device], ["Processor", classifier.processor],
      ["Software", `certrad ${software.certrad}`], ["Digest of the code", code(software.code_sha256)],
    ], true),
    factTable("Image", [
      ["Window", windowWords(result.window)], ["Model input", result.provenance.input_shape.join(" × ")],
      ["Digest of the decoded pixels", code(result.pixels_sha256)], ["Digest of the model input", code(result.input_sha256)],
      ["Note", result.radius_in_image_units?.note],
    ], true),
    factTable("Noise and record", [
      ["Law", noise.law], ["Noise key, revealed", code(noise.key)], ["Commitment to its secret", code(noise.epoch_sha256)],
      ["Job", code(job.id)], ["Certificate", code(job.links.certificate?.split("/").at(-1))],
    ], true)));
}

function windowWords(window) {
  if (!window) return null;
  const kind = spaced(window.kind.split("/")[0]);
  if (window.centre !== undefined) return `centre ${window.centre}, width ${window.width} (${kind})`;
  if (window.low !== undefined) return `${window.low} to ${window.high} (${kind})`;
  return kind;
}
