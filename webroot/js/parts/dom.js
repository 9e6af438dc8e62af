// Makes elements. What comes from jobs and output enters as text: nothing here parses HTML.

// el("button", { class: "btn", type: "button", on: { click } }, "Run now")
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === "class") element.className = value;
    else if (name === "text") element.textContent = value;
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

// Writes only what differs, so that a refresh disturbs neither selections nor screen readers.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element, name, value) {
  if (value === null || value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

export function setHidden(element, hidden) {
  if (element.hidden !== hidden) element.hidden = hidden;
}

const rowsOf = new WeakMap();

// Makes `parent` show `items`, one element each, keeping the elements of items that stay. `make(item)` gives
// { root, update(item) }.
export function keyed(parent, items, key, make) {
  const rows = rowsOf.get(parent) || new Map();
  rowsOf.set(parent, rows);
  const wanted = new Set(items.map(key));
  for (const [id, row] of rows) {
    if (wanted.has(id)) continue;
    row.root.remove();
    rows.delete(id);
  }
  let before = null;
  for (const item of items) {
    const id = key(item);
    let row = rows.get(id);
    if (!row) rows.set(id, (row = make(item)));
    row.update(item);
    const place = before ? before.nextSibling : parent.firstChild;
    // Moving an element that stands right would take the focus from it.
    if (place !== row.root) parent.insertBefore(row.root, place);
    before = row.root;
  }
}

// Replaces the links in `parent` if they say or lead to something else.
export function setLinks(parent, links) {
  const known = (list) => list.map((link) => `${link.href} ${link.textContent}`).join("\n");
  if (known(links) !== known([...parent.children])) parent.replaceChildren(...links);
}
