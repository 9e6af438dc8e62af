// Messages: what became of something, at the top of the page, and what is wrong with a part of it, in its place.

import { el, setHidden, setText } from "./dom.js";

// A message at the top. Errors stay until they are closed or the next message comes.
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

// A message is told in the view that it leads to, and not in every one after.
export function ageNotices() {
  for (const box of document.querySelectorAll(".notice")) {
    if (box.dataset.told) box.remove();
    else box.dataset.told = "true";
  }
}

// Runs an action with its button disabled, and says how it went. Resolves to true if it went well.
export async function perform(button, action, done) {
  button.disabled = true;
  try {
    await action();
    if (done) notice(done);
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
  const root = el("div", { class: "alert alert-danger pre-line", role: "alert", "data-test": test, hidden: true });
  return {
    root,
    say(text) {
      setText(root, text);
      setHidden(root, text === "");
    },
  };
}
