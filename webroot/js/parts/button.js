// A button, or with an `href` a link that looks like one.

import { el } from "./dom.js";

const icon = (name) => el("i", { class: `bi bi-${name}`, "aria-hidden": "true" });

// look: "primary", "outline-danger" …; symbol: the name of an icon; of: what it is about, for who hears the page;
// tucked: only the icon shows, where there are icons.
export function button(text, { test, look = "outline-secondary", symbol, href, click, of, small, tucked, hidden } = {}) {
  const shared = {
    class: `btn${small ? " btn-sm" : ""} btn-${look}`, "data-test": test, hidden,
    title: tucked && text, "aria-label": of && `${text} ${of}`,
  };
  const words = el("span", { class: tucked ? "tucked" : symbol && "ms-1", text });
  if (href !== undefined) return el("a", { ...shared, href }, symbol && icon(symbol), words);
  return el("button", { ...shared, type: "button", on: click && { click } }, symbol && icon(symbol), words);
}
