// Tries a rule file on a study's headers: which rule, which task, which destination, or why it is ignored.

import { post } from "./api.js";
import { h, show } from "./dom.js";
import { problemMessage } from "./problem.js";

export function ruleTest() {
  return h("section.card", h("h2", "Test the rules"));
}
