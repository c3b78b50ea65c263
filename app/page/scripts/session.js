// Who uses the page. On a closed service a key begins a session, whose cookie no script can read.

import { get, post, Problem, send, whenUnauthenticated } from "./api.js";
import { announce, h, newId, show } from "./dom.js";
import { problemMessage } from "./problem.js";

const OPEN = { access: "open", tenant: "local", scopes: [] };
const MEANINGS = { submit: "submit images", read: "read jobs and certificates", tune: "tune prompts", admin: "operate the service" };
const REFUSED = "This key is not valid. It may be mistyped, revoked or expired.";
const NO_COOKIE = "The key is valid, but the browser did not keep the session's cookie. Allow cookies for this address; over https only if the service says so.";
const RETRY_MS = 3000;

let current = OPEN;

/** Returns whether the caller may do what one of the scopes allows. */
export const may = (...scopes) => current.access === "open" || scopes.some((scope) => current.scopes.includes(scope));

/** Returns the sentence that says why the caller may not do something; null if the caller may. */
export function lacking(what, ...scopes) {
  if (may(...scopes)) return null;
  return h("p.small.muted.lacking", `Your key cannot ${what}: it lacks the scope `, scopes.map((scope, index) => [index ? " or " : "", h("code", scope)]), ".");
}

/** Finds out who uses the page, asks for a key in its place where the service wants one, and returns whether it asked. */
export async function begin(place) {
  let asked = false;
  for (;;) {
    try {
      current = await get("/session");
      break;
    } catch (problem) {
      if (problem.status === 401 || problem.status === 429) {
        current = await atStart(place, problem);
        asked = true;
        break;
      }
      show(place, h("div.narrow", problemMessage(problem, "h1")));
      await new Promise((resolve) => { setTimeout(resolve, RETRY_MS); });
    }
  }
  showBar();
  whenUnauthenticated(again);
  if (current.access === "closed") document.addEventListener("visibilitychange", compare);
  return asked;
}

function atStart(place, problem) {
  return new Promise((resolve) => {
    const form = keyForm(resolve, problem.status === 429 ? problem : null);
    document.title = "Log in · certrad";
    show(place, h("div.narrow", h("section.card.stack",
      h("h1", { tabindex: -1 }, "Log in"),
      h("p", "This service asks for an API key. Its operator makes one with ", h("code", "certrad access add"), "."),
      form.element)));
    form.focus();
  });
}

/** Asks for the key over whatever is on the page, which stays as it is. */
function again() {
  return new Promise((resolve) => {
    const label = newId("login");
    const form = keyForm((found) => {
      finished = true;
      dialog.close();
      dialog.remove();
      if (isOther(found)) return location.reload(); // nothing of one tenant stays before another
      announce("You are logged in again.");
      resolve();
    });
    let finished = false;
    const dialog = h("dialog", { "aria-labelledby": label }, h("div.stack",
      h("h2", { id: label }, "Log in again"),
      h("p.small", "Your session has ended, or its key was revoked. What you entered is still here, and goes on once you have logged in."),
      form.element));
    // Without a session nothing behind it works.
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.addEventListener("close", () => { if (!finished) dialog.showModal(); });
    document.body.append(dialog);
    for (const other of document.querySelectorAll("dialog[open]")) if (other !== dialog) other.close();
    dialog.showModal();
    form.focus();
  });
}

function keyForm(done, problem = null) {
  const id = newId("key");
  const input = h("input", {
    id, type: "password", autocomplete: "off", autocapitalize: "none", spellcheck: "false", maxlength: 256,
    "aria-describedby": `${id}-hint ${id}-refused`,
  });
  const refused = h("p.refused", { id: `${id}-refused`, role: "alert", hidden: true });
  const outcome = h("div", problem && problemMessage(problem, "h3"));
  const button = h("button.button.primary", { type: "submit" }, "Log in");
  const refuse = (words) => {
    refused.textContent = words;
    refused.hidden = !words;
    if (words) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
    if (words) input.focus();
  };
  const element = h("form.stack", { novalidate: true, "aria-label": "Log in" },
    h("div.field", h("label", { for: id }, "API key"), input,
      h("p.hint", { id: `${id}-hint` }, "It is sent once and kept nowhere in the browser, which gets a cookie in its place."), refused),
    outcome, h("div.row", button));
  element.addEventListener("submit", async (event) => {
    event.preventDefault();
    const key = input.value.trim();
    input.value = "";
    refuse("");
    show(outcome);
    if (!key) return refuse("Enter a key first.");
    button.disabled = true;
    try {
      await post("/session", { key });
      done(await get("/session").catch((error) => { throw error.status === 401 ? new CookieRefused() : error; }));
    } catch (error) {
      if (error instanceof CookieRefused) refuse(NO_COOKIE);
      else if (error instanceof Problem && (error.status === 401 || error.status === 422)) refuse(REFUSED);
      else show(outcome, problemMessage(error, "h3"));
    } finally {
      button.disabled = false;
    }
  });
  return { element, focus: () => input.focus() };
}

class CookieRefused extends Error {}

const isOther = (found) => found.tenant !== current.tenant || found.scopes.join() !== current.scopes.join();

/** Another tab may have logged in with another key: then this one begins anew. */
async function compare() {
  if (document.visibilityState !== "visible") return;
  try {
    if (isOther(await get("/session"))) location.reload();
  } catch { /* the next request says what is wrong */ }
}

function showBar() {
  if (current.access === "open") return;
  const outcome = h("span.refused", { role: "alert" });
  const button = h("button.link", { type: "button" }, "Log out");
  button.addEventListener("click", async () => {
    try {
      await send("/session", { method: "DELETE" });
    } catch (problem) {
      if (problem.status !== 401) return show(outcome, problem.body.detail ?? problem.body.title);
    }
    location.hash = "#/"; // the next person begins at the start
    location.reload();
  });
  const words = current.scopes.map((scope) => MEANINGS[scope] ?? scope);
  const bar = document.getElementById("session");
  show(bar, h("p.small", "Tenant ", h("strong", current.tenant), h("span.muted", ` · may ${listed(words)}`)), outcome, button);
  bar.hidden = false;
}

const listed = (words) => words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
