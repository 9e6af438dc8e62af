// Saves the job of a form, also where answers are lost on the way.

import { ApiError, jobs } from "../api.js";
import { taking } from "./field.js";

// draft: { name, revision, job }: the name of the job that is edited, or null for a new one, and what is stored.

const send = (draft, body) => (draft.name === null ? jobs.create(body) : jobs.replace(draft.name, body, draft.revision));

// A save before it, whose answer was lost, may be what stands in this one's way.
const mayBeOurs = (draft, error) => Boolean(draft.lost) && error.type === (draft.name === null ? "job-exists" : "changed");

// True if the job is stored as it was sent. Compared is what the manager makes of it, so that neither defaults nor
// spellings make a difference, and a member that was taken out does.
async function isSaved(name, sent) {
  try {
    const { status: _, ...stored } = await jobs.get(name);
    const { job } = await jobs.validate({ name, ...sent });
    // Both come from the manager, with their members in its order.
    return JSON.stringify(stored) === JSON.stringify(job);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return false;
  }
}

// What stands in the way, in words, beside the fields where it can be.
function complain(form, draft, asJson, error) {
  const { rest, first } = form.complain(error.errors, asJson ? () => undefined : undefined);
  (asJson ? form.json : first)?.focus();
  if (error.type === "changed") rest.push("This job was saved by somebody else after you opened it, so your changes are not saved. Reload the page to see it as it is now.");
  else if (error.errors.length === 0) rest.push(error.message);
  if (mayBeOurs(draft, error)) rest.push("It may have been your own save: its answer was lost.");
  if (error.unclear) rest.push("It is not known whether your changes were saved. They are still here: save again.");
  return rest.join("\n");
}

// Resolves to { saved: its name }, or { wrong: what stands in the way }; "" where it is all said beside the fields.
export async function save(form, draft, asJson) {
  form.clear();
  const body = taking(() => (asJson ? form.json.take() : form.store(draft.job)));
  if (body === undefined) return { wrong: "" };
  const name = draft.name ?? body.name;
  try {
    await send(draft, body);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    draft.lost ||= error.unclear;
    const mayBeSaved = error.unclear || mayBeOurs(draft, error);
    if (!(mayBeSaved && (await isSaved(name, body)))) return { wrong: complain(form, draft, asJson, error) };
  }
  return { saved: name };
}
