// A job: how it does, and the form that makes and edits it. What the form does not show is kept as it was.

import { ApiError, jobs } from "../api.js";
import { Form } from "../form/form.js";
import { preview } from "../form/preview.js";
import { save } from "../form/save.js";
import { tabs } from "../form/tabs.js";
import { JOBS } from "../links.js";
import { deleteButton, runButton } from "../parts/actions.js";
import { button } from "../parts/button.js";
import { el, setHidden, setText } from "../parts/dom.js";
import { notice, trouble } from "../parts/notice.js";
import { standing } from "../parts/standing.js";
import { absolute } from "../parts/time.js";

// Between two tries to read the job.
const REFRESH = 2000;

const BLANK = { name: "", trigger: { cron: [] }, driver: { shell: { command: "" } } };

function heading(title, saved) {
  return el("div", { class: "heading" }, el("h1", { class: "h4 mb-0 text-break", "data-test": "title" }, title),
    saved && el("span", { class: "text-secondary small" }, `last saved ${absolute(saved)}`));
}

const toJobs = () => (location.hash = JOBS);

// acts: buttons beside "Save".
function editor(life, draft, acts) {
  const form = new Form(draft.job);
  const schedule = preview(form, life, draft.name);
  const ways = tabs(form, draft, schedule.root, schedule.ask);
  const wrong = trouble("form-error");
  const submit = el("button", { class: "btn btn-primary", type: "submit", "data-test": "save" }, "Save");
  const root = el("form", { class: "job-form", novalidate: true, "data-test": "job-form" }, ...ways.parts, wrong.root, ...ways.body,
    el("div", { class: "d-flex flex-wrap gap-2 mt-3" }, submit, button("Cancel", { href: JOBS }), ...acts));
  root.addEventListener("submit", async (event) => {
    event.preventDefault();
    submit.disabled = true;
    wrong.say("");
    const { saved, wrong: words } = await save(form, draft, ways.isJson()).finally(() => (submit.disabled = false));
    if (saved !== undefined) {
      notice(`${saved} is saved.`);
      toJobs();
      return;
    }
    wrong.say(words);
    if (words) wrong.root.scrollIntoView({ block: "nearest" });
  });
  form.load(draft.job);
  form.name.control.readOnly = draft.name !== null;
  schedule.ask();
  return { root, form };
}

export function showNewJob(root, life) {
  const { root: fields, form } = editor(life, { name: null, job: BLANK, revision: null }, []);
  root.append(heading("New job"), fields);
  form.name.focus();
}

function show(root, life, name, { status, ...job }) {
  const state = standing(name, life, status);
  const remove = deleteButton(name, {}, (done) => done && toJobs());
  remove.classList.add("ms-auto");
  const acts = [runButton(name, { look: "outline-primary" }, state.refresh), remove];
  root.append(heading(name, status.saved), state.root, editor(life, { name, job, revision: status.revision }, acts).root);
}

export function showJob(root, life, name) {
  const words = el("span");
  const wrong = el("div", { class: "alert alert-warning", role: "alert", hidden: true }, words, " ", el("a", { href: JOBS }, "All jobs"));
  root.append(wrong);
  life.every(REFRESH, async (signal) => {
    try {
      const job = await jobs.get(name, signal);
      wrong.remove();
      show(root, life, name, job);
      return false;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      setText(words, error.missing ? `There is no job ${name}.` : error.message);
      setHidden(wrong, error.away);
      return !error.missing;
    }
  });
}
