// Numbers, times and the service's words, as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** Returns 12345 as "12,345". */
export const count = (value) => whole.format(value);

/** Returns a number with some significant digits, cut rather than rounded up: what is shown is never more than was proved. */
export function floored(value, digits = 4) {
  if (!Number.isFinite(value) || value === 0) return "0";
  if (Number.isInteger(value)) return count(value);
  const places = Math.min(12, Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(value)))));
  const scale = 10 ** places;
  return new Intl.NumberFormat("en", { maximumFractionDigits: places }).format(Math.floor(value * scale) / scale);
}

/** Returns a radius with the four decimals that the service publishes. */
export const radius = (value) => value.toFixed(4);

/** Returns 0.001 as "0.1%". */
export const percent = (value) => `${Number((100 * value).toPrecision(3))}%`;

/** Returns a time of the service as the reader's clock shows it. */
export function moment(text) {
  return new Date(text).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
}

/** Returns seconds as "1 min 20 s". */
export function duration(seconds) {
  const rounded = Math.max(0, Math.round(seconds));
  if (rounded < 60) return `${rounded} s`;
  const minutes = Math.floor(rounded / 60);
  return minutes < 60 ? `${minutes} min ${rounded % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Returns "gated bank" for "gated_bank". */
export const spaced = (word) => word.replaceAll("_", " ");

export const PHASES = {
  queued: "Waiting for intake",
  decoding: "Decoding the image",
  unpacking: "Decoding the images",
  waiting: "Waiting for an engine",
  loading: "Loading the model",
  adapting: "Adapting the prompt",
  selecting: "Choosing the class",
  estimating: "Bounding its probability",
  attacking: "Making adversarial images",
  tuning: "Learning the prompt",
  evaluating: "Measuring the prompt",
  finishing: "Storing the result",
  done: "Done",
};

export const REASONS = {
  no_majority: "The noisy samples do not support a class.",
  target_not_certifiable: "The target radius cannot be shown with this number of samples.",
};

export const SCOPES = {
  input_independent: "Covers altered images",
  frozen_prompt: "Covers one frozen prompt only",
};

/** Returns whether a result is the extra class of a bank: it is certified, and names nothing that the image shows. */
export function isUnlike(result) {
  return Number.isInteger(result?.rejection_index) && result.class_index === result.rejection_index;
}

/** Returns the badge of a job: a class and a word. */
export function state(job) {
  if (job.status === "succeeded" && isUnlike(job.result)) return ["unlike", "Unlike"];
  if (job.status === "succeeded") return job.result?.outcome ? [job.result.outcome, job.result.outcome === "certified" ? "Certified" : "Abstained"] : ["certified", "Tuned"];
  if (job.status === "failed") return ["failed", "Failed"];
  if (job.status === "cancelled") return ["cancelled", "Cancelled"];
  return ["running", job.status === "queued" ? "Queued" : "Running"];
}
