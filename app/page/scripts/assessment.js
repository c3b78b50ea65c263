// The reader's answer to a result: accept, reject or amend, with a reason from a list and nothing about the patient.

import { get, offers, post } from "./api.js";
import { announce, h, newId, show } from "./dom.js";
import { moment } from "./format.js";
import { problemMessage, sentence } from "./problem.js";

const VERDICTS = [["accept", "Accept", "Accepted"], ["reject", "Reject", "Rejected"], ["amend", "Amend", "Amended"]];

export function assessment(job) {
  const element = h("section.card.stack", { "aria-label": "Your assessment", hidden: true });
  const sha256 = job.links.certificate?.split("/").at(-1);
  if (sha256) {
    offers("post", "/certificates/{sha256}/assessment")
      .then((there) => there && fill(element, job, `/certificates/${sha256}/assessment`))
      .catch(() => {});
  }
  return element;
}

async function fill(element, job, path) {
  const { assessments, reasons } = await get(path);
  const id = newId("reason");
  const select = h("select", { id, name: "reason" });
  const rest = h("form.stack", { hidden: true },
    h("div.field", h("label", { for: id }, "Reason"), select),
    h("div.row", h("button.button.primary", { type: "submit" }, "Save assessment")));
  const outcome = h("div");
  const latest = h("p.small");
  let verdict = null;

  const buttons = VERDICTS.map(([value, word]) => h("button.button", {
    type: "button", "aria-pressed": "false", "data-verdict": value, onclick: () => choose(value),
  }, word));
  const choose = (value) => {
    verdict = value;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.verdict === value));
    show(select, reasons.filter(({ verdicts, outcomes }) => verdicts.includes(value) && outcomes.includes(job.result.outcome))
      .map(({ code, meaning }) => h("option", { value: code }, sentence(meaning))));
    rest.hidden = false;
  };
  const say = (made) => {
    if (!made) return show(latest, "Nobody has assessed this result yet.");
    const [, , word] = VERDICTS.find(([value]) => value === made.verdict) ?? [null, null, made.verdict];
    const meaning = reasons.find(({ code }) => code === made.reason)?.meaning ?? made.reason;
    show(latest, h("strong", word), `: ${meaning}, ${moment(made.recorded_at)}.`);
  };
  rest.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = rest.querySelector("button");
    button.disabled = true;
    try {
      say(await post(path, { verdict, reason: select.value, job: job.id }));
      show(outcome);
      rest.hidden = true;
      for (const each of buttons) each.setAttribute("aria-pressed", "false");
      buttons.find((each) => each.dataset.verdict === verdict).focus();
      announce("Your assessment was saved.");
    } catch (problem) {
      show(outcome, problemMessage(problem, "h3"));
    } finally {
      button.disabled = false;
    }
  });

  say(assessments.at(-1));
  show(element, h("h2", "Your assessment"),
    h("p.small.muted", "Does the result agree with your reading? Nothing about the patient is kept."),
    h("div.answers", { role: "group", "aria-label": "Assessment" }, buttons), rest, outcome, latest);
  element.hidden = false;
}
