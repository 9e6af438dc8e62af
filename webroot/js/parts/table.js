// A table whose rows become cards on a phone, each cell with the name of its column.

import { el } from "./dom.js";

// columns: their names; one that is nothing but buttons is { name, actions: true }.
const nameOf = (column) => column.name ?? column;

export function table(columns, { look = "align-middle", ...attributes } = {}) {
  const heads = columns.map((column) => el("th", { scope: "col" }, column.actions ? el("span", { class: "visually-hidden", text: column.name }) : nameOf(column)));
  const body = el("tbody");
  return { root: el("table", { class: `table ${look} cards`, ...attributes }, el("thead", {}, el("tr", {}, ...heads)), body), body };
}

// cells: for each column, an element or a list of them.
export function tableRow(columns, attributes, cells) {
  return el("tr", attributes, ...columns.map((column, n) => {
    const look = column.actions ? { class: "actions" } : { "data-label": nameOf(column) };
    return el("td", look, ...[cells[n]].flat());
  }));
}
