// Shows the view that the address names, and moves focus with it.

import { h, show } from "./dom.js";
import { certifyView } from "./certify.js";
import { jobView } from "./job.js";
import { jobsView } from "./jobs.js";
import { serviceView } from "./service.js";
import { begin } from "./session.js";

const VIEWS = [
  [/^#\/jobs\/([\w-]{1,64})$/, "jobs", (_, id) => jobView(id)],
  [/^#\/jobs$/, "jobs", jobsView],
  [/^#\/service$/, "service", serviceView],
  [/^/, "certify", certifyView],
];
const main = document.getElementById("main");
let leave = null;

function open(focus) {
  leave?.();
  for (const [pattern, name, view] of VIEWS) {
    const match = pattern.exec(location.hash);
    if (!match) continue;
    const { element, title, close } = view(...match);
    leave = close ?? null;
    document.title = `${title} · certrad`;
    for (const link of document.querySelectorAll("[data-nav]")) {
      if (link.dataset.nav === name) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    show(main, element);
    if (focus) {
      scrollTo(0, 0);
      (main.querySelector("h1") ?? main).focus({ preventScroll: true });
    }
    return;
  }
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names the view, not a place in it
  main.focus();
});

const theme = document.getElementById("theme");
const isDark = () => document.documentElement.dataset.theme === "dark";
const label = () => theme.setAttribute("aria-pressed", String(isDark()));
new MutationObserver(() => {
  label();
  document.dispatchEvent(new Event("themechange"));
}).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
theme.addEventListener("click", () => {
  const next = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try { localStorage.setItem("theme", next); } catch { /* a browser that stores nothing forgets the choice */ }
});
label();

begin(main).then((isNew) => {
  addEventListener("hashchange", () => open(true));
  open(isNew);
});
