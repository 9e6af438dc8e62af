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

export const icon = (name) => el("i", { class: `bi bi-${name}`, "aria-hidden": "true" });

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

const STATES = {
  queued: ["queued", "secondary"],
  claimed: ["claimed", "info"],
  running: ["running", "primary"],
  succeeded: ["succeeded", "success"],
  failed: ["failed", "danger"],
  timed_out: ["timed out", "danger"],
  killed: ["killed", "warning"],
  lost: ["lost", "dark"],
  expired: ["expired", "secondary"],
  skipped: ["skipped", "secondary"],
  missed: ["missed", "warning"],
  no_record: ["no record", "dark"],
  waiting: ["waiting", "info"],
  upcoming: ["upcoming", "light"],
};

export const STATE_NAMES = ["running", "queued", "claimed", "succeeded", "failed", "timed_out", "killed", "lost", "expired"];

export const stateWords = (state) => (STATES[state] || [String(state)])[0];

export const isFinal = (state) => !["queued", "claimed", "running"].includes(state);

// A badge that says a run's state; `setState` changes it.
export const stateBadge = () => el("span", { class: "badge", "data-test": "state" });

export function setState(badge, state) {
  setText(badge, state ? stateWords(state) : "");
  const look = `badge state text-bg-${(STATES[state] || [0, "secondary"])[1]}`;
  if (badge.className !== look) badge.className = look;
  setHidden(badge, !state);
}

// A message at the top of the page. Errors stay until they are closed or the next message comes.
export function notice(text, kind = "success") {
  const close = el("button", { class: "btn-close-text", type: "button", "aria-label": "Close message" }, "×");
  const box = el(
    "div",
    { class: `alert alert-${kind} notice`, role: kind === "danger" ? "alert" : "status", "data-test": `notice-${kind}` },
    el("span", { text }),
    close,
  );
  close.addEventListener("click", () => box.remove());
  document.getElementById("notices").replaceChildren(box);
  if (kind !== "danger") setTimeout(() => box.remove(), 6000);
}

// Asks before something that cannot be taken back. Resolves to true for yes.
export function confirmed(title, text, yes) {
  const dialog = document.getElementById("confirm");
  document.getElementById("confirm-title").textContent = title;
  document.getElementById("confirm-text").textContent = text;
  document.getElementById("confirm-yes").textContent = yes;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

// Runs an action with its button disabled, and says how it went.
export async function perform(button, action, done) {
  button.disabled = true;
  try {
    const answer = await action();
    if (done) notice(done(answer));
    return true;
  } catch (error) {
    if (error.name !== "AbortError") notice(error.message, "danger");
    return false;
  } finally {
    button.disabled = false;
  }
}

// An alert for what went wrong in a part of the page; hidden while nothing did.
export function trouble(test) {
  const root = el("div", { class: "alert alert-danger", role: "alert", "data-test": test, hidden: true });
  return {
    root,
    say(text) {
      setText(root, text);
      setHidden(root, text === "");
    },
  };
}

export const jobHref = (name) => `#/jobs/${name === "new" ? "%6Eew" : encodeURIComponent(name)}`;
export const runHref = (run) => `#/runs/${encodeURIComponent(run)}`;
export const ticksOf = (name) => `${jobHref(name)}/ticks`;
export const runsOf = (name) => `#/runs?job=${encodeURIComponent(name)}`;
