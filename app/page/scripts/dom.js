// Builds elements. Text goes in as text nodes only, so nothing that the service answers can become markup.

const SVG = "http://www.w3.org/2000/svg";

/** Returns an element: h("p.small", {id: "x", onclick}, "text", otherElement). */
export function h(selector, ...rest) {
  const [tag, ...classes] = selector.split(".");
  return fill(document.createElement(tag || "div"), classes, rest);
}

/** Returns an SVG element. */
export function svg(selector, ...rest) {
  const [tag, ...classes] = selector.split(".");
  return fill(document.createElementNS(SVG, tag), classes, rest);
}

function fill(element, classes, rest) {
  if (classes.length) element.setAttribute("class", classes.join(" "));
  const attributes = isAttributes(rest[0]) ? rest.shift() : {};
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  add(element, rest);
  return element;
}

function isAttributes(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value) && !(value instanceof Node);
}

function add(element, children) {
  for (const child of children.flat(3)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/** Replaces the content of an element. */
export function show(element, ...children) {
  element.replaceChildren();
  add(element, children);
}

let said = "";

/** Says a sentence to screen readers, once. */
export function announce(sentence) {
  if (sentence === said) return;
  said = sentence;
  document.getElementById("announcer").textContent = sentence;
}

const ICONS = {
  upload: ["M12 16V4", "M7 9l5-5 5 5", "M4 16v3a1.5 1.5 0 0 0 1.5 1.5h13A1.5 1.5 0 0 0 20 19v-3"],
  download: ["M12 4v12", "M7 11l5 5 5-5", "M4 20h16"],
};

/** Returns a drawing that says nothing to screen readers. */
export function icon(name) {
  return svg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, ICONS[name].map((d) => svg("path", { d })));
}

let ids = 0;

/** Returns an id that no other element has. */
export function newId(prefix) {
  ids += 1;
  return `${prefix}-${ids}`;
}
