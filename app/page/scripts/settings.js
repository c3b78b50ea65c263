// The fields of POST /certify. A field that is left at its default is not sent, so that the service chooses.

import { h } from "./dom.js";
import { number, options, segments, select, text } from "./fields.js";
import { variantFields } from "./variant_fields.js";

const SIGMAS = [["0.12", "low"], ["0.25", "default"], ["0.5", "high"], ["1.0", "highest"]];
const SAMPLES = [["1000", "1,000", "quick"], ["10000", "10,000", "default"], ["100000", "100,000", "thorough"]];
const METHODS = { bank: "bank of prompts, gated", few_shot: "few-shot prompt", coop: "CoOp prompt", advpt: "AdvPT prompt", calibrated: "calibrated prompt", imported: "imported prompt" };

export function settingsFields({ tasks, backbones, prompts, defaultTask }) {
  const ready = new Set(backbones.filter(({ available }) => available).map(({ card }) => card.id));
  const task = select("task", "Task", taskOptions(tasks, ready), "The classes that the image may belong to");
  const first = tasks.find(({ id }) => id === defaultTask) ?? tasks.find((card) => ready.has(card.default_backbone)) ?? tasks[0];
  task.input.value = first?.id ?? "";

  const prompt = select("prompt", "Prompt", [], "What the classes are described by");
  const sigma = segments("sigma", "Noise σ", SIGMAS.map(([value, word]) => [value, value, word]), "0.25");
  const samples = segments("samples", "Noisy samples", SAMPLES, "10000");
  const exact = number("n", "Exact number of samples", { min: 10, max: 1000000, step: 1 }, "Takes the place of the choice above");
  const target = number("target_radius", "Target radius", { min: 0, step: "any" }, "Stop as soon as it is proved");
  const windowed = select("window", "Window of a grey image", [], "Which values become black and white");
  const own = text("window_values", "Centre and width", "40,400", "In HU, or in the file's values after the rescale");
  const frame = number("frame", "Frame", { min: 1, step: 1 }, "Of an image with several, from 1");
  const region = text("region", "Region", "0,0,512,512", "x,y,width,height in pixels");
  const alpha = number("alpha", "Failure probability α", { min: 0.000001, max: 0.05, step: "any" }, "Default 0.001");
  const n0 = number("n0", "Samples that choose the class", { min: 10, max: 1000000, step: 1 }, "Default 100");
  const bound = select("bound", "Bound", [["", "Default (two classes)"], ["two_class", "Runner-up is bounded, too"], ["cohen", "1 − p (Cohen et al.)"]]);
  const adaptation = select("adaptation", "Adaptation", [["", "Default"], ["none", "None"], ["gated", "Gated bank, inside the claim"], ["zero_shot", "Zero-shot: tune on this image"]], "Zero-shot covers only the tuned prompt");
  const space = select("noise_space", "Noise on", [["", "Model input"], ["image", "The image's own pixels"]], "σ, target radius and radius are in pixels of it");
  const priority = select("priority", "Priority", [["", "Normal"], ["urgent", "Urgent: before every normal job"]]);

  const deadline = number("deadline", "Deadline in seconds", { min: 1, max: 604800, step: "any" }, "Refused at once if the estimate is longer; given up when it has passed");
  const reference = text("reference", "Reference", "", "Your own note, kept and shown with the job only");
  reference.input.maxLength = 128;

  const variants = variantFields();

  const follow = () => {
    const card = tasks.find(({ id }) => id === task.input.value);
    if (!card) return;
    task.hint.textContent = classList(card.class_names);
    const own = prompts.filter((each) => each.card.task === card.id);
    options(prompt.input, [
      ["", defaultPrompt(card)],
      ...own.map((each) => [each.card.id, `${METHODS[each.card.method] ?? each.card.method} (${each.card.id})`]),
      ["template", `Hand-written: “${card.template}”`],
    ]);
    options(windowed.input, [
      ["", "The file's own"],
      ...card.windows.map((preset) => [preset.name, `${preset.name.replaceAll("_", " ")} (${preset.modality} ${preset.centre}, ${preset.width})`]),
      ["percentile", "1st to 99th percentile"],
      ["own", "Centre and width…"],
    ]);
    sigma.option("auto", card.sigma_routing !== null);
    showOwnWindow();
  };
  const showOwnWindow = () => { own.element.hidden = windowed.input.value !== "own"; };
  sigma.add("auto", "auto", "per image");
  task.input.addEventListener("change", follow);
  windowed.input.addEventListener("change", showOwnWindow);
  follow();

  const all = { task, prompt, sigma, n: exact, target_radius: target, window: windowed, frame, region, alpha, n0, bound, adaptation, noise_space: space, ...variants.fields, priority, deadline, reference };
  const more = h("details",
    h("summary", "More settings"),
    h("div.fields", [windowed, own, frame, region, target, exact, adaptation, alpha, n0, bound, space, priority, deadline, reference].map(({ element }) => element)));
  const element = h("div.stack",
    h("div.fields", task.element, prompt.element), h("div.fields", sigma.element, samples.element), variants.element, more);

  return {
    element,
    values() {
      const found = {};
      for (const [name, { value }] of Object.entries(all)) if (value()) found[name] = value();
      found.n ??= samples.value();
      if (found.window === "own") found.window = own.value();
      return found;
    },
    clear() {
      for (const each of Object.values(all)) each.refuse("");
    },
    refuse(errors) {
      const shown = errors.map((each) => ({ ...each, field: each.field.split(".")[0] })).filter(({ field }) => all[field]);
      for (const { field, detail } of shown) all[field].refuse(detail);
      const [one] = shown;
      if (!one) return;
      for (const folded of [more, variants.element]) if (folded.contains(all[one.field].element)) folded.open = true;
      all[one.field].focus();
    },
  };
}

function taskOptions(tasks, ready) {
  const inUse = tasks.filter((card) => ready.has(card.default_backbone));
  const others = tasks.filter((card) => !ready.has(card.default_backbone));
  const group = (label, cards, disabled) => cards.length
    ? [h("optgroup", { label }, cards.map((card) => h("option", { value: card.id, disabled }, card.title)))]
    : [];
  return [...group("Ready", inUse, false), ...group("Weights are not installed", others, true)];
}

function defaultPrompt(card) {
  if (card.default_bank) return "Task's default: bank of prompts, gated";
  return card.default_prompt ? "Task's default: learned prompt" : "Task's default: hand-written";
}

function classList(names) {
  const shown = names.slice(0, 6).join(", ");
  return names.length > 6 ? `${shown} and ${names.length - 6} more` : shown;
}
