// Tries the rules on a series: which rule, which task, which destination, or why it is left alone.

import { post } from "./api.js";
import { h, newId, show } from "./dom.js";
import { factTable } from "./parts.js";
import { problemMessage, sentence } from "./problem.js";

const ATTRIBUTES = [
  ["modality", "Modality", "DX"],
  ["body_part", "Body part", "CHEST"],
  ["station", "Station", ""],
  ["series_description", "Series description", ""],
];
const OUTPUTS = { sr: "structured report", sc: "secondary capture page" };

export function ruleTest() {
  const inputs = ATTRIBUTES.map(([name, label, placeholder]) => {
    const id = newId("rule");
    const input = h("input", { id, name, type: "text", placeholder, maxlength: 1024, autocomplete: "off" });
    return { name, input, element: h("div.field", h("label", { for: id }, label), input) };
  });
  const id = newId("rules");
  const own = h("textarea", { id, name: "rules", spellcheck: "false", "aria-describedby": `${id}-hint` });
  const outcome = h("div", { role: "status" });
  const button = h("button.button", { type: "submit" }, "Test");
  const form = h("form.stack", { "aria-label": "Test the rules" },
    h("div.fields", inputs.map(({ element }) => element)),
    h("details", h("summary", "With other rules than those of the file"),
      h("div.field", h("label", { for: id }, "Rules as TOML"), own, h("p.hint", { id: `${id}-hint` }, "They are tried and not kept."))),
    h("div.row", button), outcome);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    const attributes = Object.fromEntries(inputs.map(({ name, input }) => [name, input.value.trim()]));
    try {
      show(outcome, decision(await post("/rules/test", own.value.trim() ? { attributes, rules: own.value } : { attributes })));
    } catch (problem) {
      show(outcome, problemMessage(problem, "h3"));
    } finally {
      button.disabled = false;
    }
  });
  return h("section.card", { "aria-labelledby": "rule-test" },
    h("h2", { id: "rule-test" }, "Test the rules"),
    h("p.lead.small", "What would happen to a series with these attributes? The first rule that matches decides. Nothing is retrieved. The file of rules is read anew each time; the connector uses a change of it once it is restarted."),
    form);
}

function decision(found) {
  if (found.decision === "ignore") {
    return h("div.message", { "data-decision": "ignore" },
      h("h3", "It is left alone"),
      h("p", found.rule === null ? `${sentence(found.reason)}.` : `Rule “${found.rule}”: ${found.reason}.`));
  }
  const instances = found.instances === "all" ? `all, at most ${found.max_instances}` : `the ${found.instances} one, at most ${found.max_instances}`;
  return h("div.message", { "data-decision": "certify" },
    h("h3", "It is certified"),
    factTable("Decision", [
      ["Rule", found.rule],
      ...Object.entries(found.fields).map(([name, value]) => [sentence(name.replaceAll("_", " ")), value]),
      ["Instances", instances],
      ["Results", found.outputs.map((kind) => OUTPUTS[kind] ?? kind).join(", ")],
      ["Destination", found.destination],
    ]));
}
