// The reader's answer to a result: accept, reject or amend, with a reason from a list and nothing about the patient.

import { h } from "./dom.js";

export function assessment() {
  return h("div", { hidden: true });
}
