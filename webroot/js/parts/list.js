// What all lists do alike: load, say that there is nothing or what went wrong, refresh, show more.

import { ApiError } from "../api.js";
import { button } from "./button.js";
import { el, keyed, setHidden } from "./dom.js";
import { trouble } from "./notice.js";
import { table, tableRow } from "./table.js";

// The elements of a list, and what makes them show a page of it, or what went wrong.
function frame(given) {
  const { isEmpty = (page) => page.items.length === 0 && !page.next } = given;
  const wrong = trouble(`${given.name}-error`);
  const loading = el("p", { class: "text-secondary loading", role: "status", "data-test": "loading" }, "Loading…");
  const rows = table(given.columns, { "data-test": given.name, hidden: true });
  const none = el("div", { class: "empty", "data-test": "empty", hidden: true }, ...[given.empty].flat());
  const more = button("More", { test: "more", hidden: true });
  const make = (item) => {
    const { cells, attributes, update } = given.row(item);
    const root = tableRow(given.columns, attributes, cells);
    return { root, update: (newer) => update(newer, root) };
  };
  const show = (page) => {
    wrong.say("");
    setHidden(loading, true);
    keyed(rows.body, page.items, given.key, make);
    setHidden(rows.root, page.items.length === 0);
    setHidden(none, !isEmpty(page));
    setHidden(more, !page.next);
  };
  const fail = (words) => {
    setHidden(loading, true);
    wrong.say(words);
  };
  const heading = el("div", { class: "heading" },
    el("h1", { class: "h4 mb-0 text-break", "data-test": "title" }, ...[given.title].flat()), ...(given.controls ?? []));
  return { parts: [heading, wrong.root, ...(given.above ?? []), loading, rows.root, none, more], more, show, fail };
}

// Appends a list to `root`. It is given as
//   name      for tests: of the table
//   title     what stands in the heading, and `controls` beside it
//   above     elements between the heading and the table
//   columns, key(item), row(item) → { cells, attributes, update(item, its row) }
//   refresh   the pause between two readings in ms, and `page`: how many items at first, and more with each press
//   load(count, signal) → { items, next, … }, and `loaded(page)` with what it gave
//   empty     what to show in place of the table where there are no items; `isEmpty(page)` where that takes more
//   failed(error) → its words
// and gives `refresh()`, and `restart()`: the same from the first page.
export function list(root, life, given) {
  const { failed = (error) => error.message } = given;
  const shown = frame(given);
  let count = given.page;
  const refresh = life.every(given.refresh, async (signal) => {
    try {
      const page = await given.load(count, signal);
      shown.show(page);
      given.loaded?.(page);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      // The banner says that nobody answers.
      if (!error.away) shown.fail(failed(error));
    }
  });
  const show = (more) => {
    count = more;
    refresh();
  };
  shown.more.addEventListener("click", () => show(count + given.page));
  root.append(...shown.parts);
  return { refresh, restart: () => show(given.page) };
}
