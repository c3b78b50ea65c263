// A refusal: what is wrong, in the service's words, and what to do.

import { remedy } from "./api.js";
import { h, show } from "./dom.js";
import { duration } from "./format.js";

/** Returns a message about a problem. */
export function problemMessage(problem, heading = "h2") {
  const { title, detail, code, errors } = problem.body ?? { title: "This page has a defect", detail: String(problem) };
  const fields = errors ?? [];
  const todo = h("p", { hidden: true });
  const say = (words) => {
    if (!words) return;
    todo.hidden = false;
    show(todo, h("strong", "What to do: "), words, ".");
  };
  if (fields.length) say(fields.length === 1 ? "correct the field above" : "correct the fields above");
  else remedy(code).then((words) => say(words && marked(words)));
  return h("div.message.failure", { role: "alert", "data-code": code },
    h(heading, sentence(title)),
    fields.length
      ? h("ul", fields.map(({ field, detail: reason }) => h("li", h("code", field), " ", marked(reason))))
      : detail && h("p", marked(sentence(detail))),
    todo,
    problem.retryAfter ? h("p", `Try again in ${duration(problem.retryAfter)}.`) : null,
    code && h("p.small.muted", "Code ", h("code", code)),
  );
}

/** Returns text in which what stands between backticks is set as code. */
export function marked(text) {
  return text.split("`").map((part, index) => index % 2 ? h("code", part) : part);
}

/** Returns words that begin with a capital letter. */
export function sentence(words) {
  return words ? words[0].toUpperCase() + words.slice(1) : "";
}
