// A refusal: what is wrong, in the service's words, and what to do.

import { remedy } from "./api.js";
import { h } from "./dom.js";

/** Returns a message about a problem. */
export function problemMessage(problem, heading = "h2") {
  const { title, detail, code, errors } = problem.body ?? { title: "This page has a defect", detail: String(problem) };
  const todo = h("p", { hidden: true });
  remedy(code).then((words) => {
    if (!words) return;
    todo.hidden = false;
    todo.append(h("strong", "What to do: "), `${words}.`);
  });
  const fields = errors ?? [];
  return h("div.message.failure", { role: "alert", "data-code": code },
    h(heading, sentence(title)),
    fields.length
      ? h("ul", fields.map(({ field, detail: reason }) => h("li", h("code", field), ` ${reason}`)))
      : h("p", `${sentence(detail)}`),
    todo,
    code && h("p.small.muted", "Code ", h("code", code)),
  );
}

/** Returns words that begin with a capital letter. */
export function sentence(words) {
  return words ? words[0].toUpperCase() + words.slice(1) : "";
}
