// The output of a run, followed while it executes.

import { ApiError, runs } from "../api.js";
import { el, setText } from "./dom.js";

const REFRESH = 500;
// Somebody who is as near to the end sees what is added.
const NEAR = 24;

// The output as text, standard error marked. Pieces count bytes of UTF-8 and may end inside a character, so each
// stream has a decoder of its own that waits for the rest.
class Output {
  constructor() {
    this.pre = el("pre", { class: "output", tabindex: "0", "aria-label": "Output", "data-test": "output" });
    this.note = el("p", { class: "small text-secondary mb-0", "data-test": "output-note" });
    this.root = el("section", { "aria-label": "Output" }, el("h2", { class: "h6" }, "Output ",
      el("span", { class: "badge stderr-key" }, "standard error")), this.pre, this.note);
    // Which attempt; none: the newest.
    this.wanted = undefined;
    this.reset();
  }

  reset() {
    this.from = 0;
    this.attempt = 0;
    this.pre.replaceChildren();
    this.breakOff();
  }

  // What follows does not continue what is there.
  breakOff() {
    this.last = null;
    this.decoders = { out: new TextDecoder(), err: new TextDecoder() };
  }

  add({ output, pieces, next, attempt, truncated, gap, complete }) {
    const isAtEnd = this.pre.scrollHeight - this.pre.scrollTop - this.pre.clientHeight < NEAR;
    const bytes = new TextEncoder().encode(output);
    let done = 0;
    for (const [, stream, length] of pieces) {
      // What is missing ends where a piece does.
      if (gap && done === gap.at) this.addGap(gap.bytes);
      this.write(stream, bytes.subarray(done, done + length));
      done += length;
    }
    if (done < bytes.length) this.write("out", bytes.subarray(done));
    this.from = next;
    this.attempt = attempt;
    if (isAtEnd) this.pre.scrollTop = this.pre.scrollHeight;
    this.comment(truncated, complete);
  }

  comment(truncated, complete) {
    const said = this.wanted ? [`Attempt ${this.attempt}.`] : [];
    if (truncated > 0) said.push(`${truncated.toLocaleString()} bytes beyond the job's limit are left out.`);
    if (!complete) said.push("The run is in progress; its output appears as it comes.");
    else if (this.pre.childElementCount === 0) said.push("The run printed nothing.");
    setText(this.note, said.join(" "));
  }

  addGap(bytes) {
    this.breakOff();
    this.pre.append(el("span", { class: "gap", "data-test": "output-gap", text: `${bytes.toLocaleString()} bytes are left out here` }));
  }

  write(stream, bytes) {
    const text = (this.decoders[stream] || this.decoders.out).decode(bytes, { stream: true });
    if (text === "") return;
    if (this.last?.dataset.stream !== stream) {
      this.last = el("span", { "data-stream": stream, class: stream === "err" ? "stderr" : "" });
      this.pre.append(this.last);
    }
    this.last.append(text);
  }

  // What is new, or all of it where another attempt has begun or is wanted.
  async read(run, signal) {
    const { wanted } = this;
    const part = await runs.output(run, this.from, wanted, signal);
    if (wanted === this.wanted && (!this.attempt || part.attempt === this.attempt)) return part;
    this.reset();
    return runs.output(run, 0, this.wanted, signal);
  }
}

// Follows the output of `run` until the manager says that nothing will come any more. `reread` looks again, and
// `choose(attempt)` shows that of another attempt.
export function followOutput(life, run) {
  const output = new Output();
  const reread = life.every(REFRESH, async (signal) => {
    try {
      const part = await output.read(run, signal);
      output.add(part);
      return !part.complete;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      setText(output.note, error.away ? "" : error.message);
      return true;
    }
  });
  const choose = (attempt) => {
    output.wanted = attempt;
    output.reset();
    reread();
  };
  return { root: output.root, reread, choose };
}
