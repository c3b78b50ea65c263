// The fields of a form: each has its label, its hint, and a place for the reason of a refusal.

import { h, newId, show } from "./dom.js";

/** Sets the choices of a list; what was chosen stays if it is still there. */
export function options(input, pairs) {
  const before = input.value;
  show(input, pairs.map((each) => each instanceof Node ? each : h("option", { value: each[0] }, each[1])));
  input.value = before;
  if (input.selectedIndex < 0) input.selectedIndex = 0;
}

/** Returns a labelled field with its hint, and with the reason where it is refused. */
export function field(name, label, input, words) {
  const id = newId(name);
  input.id = id;
  input.name = name;
  input.setAttribute("aria-describedby", `${id}-hint ${id}-refused`);
  const hint = h("p.hint", { id: `${id}-hint` }, words ?? "");
  const refused = h("p.refused", { id: `${id}-refused`, hidden: true });
  return {
    input, hint,
    element: h("div.field", h("label", { for: id }, label), input, hint, refused),
    value: () => input.value.trim(),
    focus: () => input.focus(),
    refuse(reason) {
      refused.textContent = reason;
      refused.hidden = !reason;
      if (reason) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    },
  };
}

/** Returns a list to choose from. */
export function select(name, label, pairs, words) {
  const input = h("select");
  options(input, pairs);
  return field(name, label, input, words);
}

/** Returns a field for a number. */
export function number(name, label, limits, words) {
  return field(name, label, h("input", { type: "number", inputmode: "decimal", ...limits }), words);
}

/** Returns a field for a text. */
export function text(name, label, placeholder, words) {
  return field(name, label, h("input", { type: "text", placeholder, autocomplete: "off", spellcheck: "false" }), words);
}

/** Returns choices side by side. */
export function segments(name, label, choices, chosen) {
  const group = newId(name);
  const row = h("div.segments");
  const refused = h("p.refused", { hidden: true });
  const inputs = new Map();
  const add = (value, title, word) => {
    const input = h("input", { type: "radio", name: group, value, checked: value === chosen });
    inputs.set(value, input);
    row.append(h("label", input, title, h("small", word)));
  };
  for (const [value, title, word] of choices) add(value, title, word);
  return {
    element: h("fieldset.field", h("legend", label), row, refused),
    value: () => [...inputs.values()].find((input) => input.checked).value,
    focus: () => inputs.get(chosen).focus(),
    add,
    option(value, allowed) {
      const input = inputs.get(value);
      input.disabled = !allowed;
      if (input.checked && !allowed) inputs.get(chosen).checked = true;
    },
    refuse(reason) {
      refused.textContent = reason;
      refused.hidden = !reason;
    },
  };
}
