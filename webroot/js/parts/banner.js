// The line at the top that says what the manager cannot do just now.

import { AWAY, onLink, readiness } from "../api.js";
import { setHidden, setText } from "./dom.js";

const REFRESH = 5000;

export function showBanner(life) {
  const banner = document.getElementById("banner");
  let answers = true;
  let lacks = "";
  const show = () => {
    const text = answers ? lacks : AWAY;
    setText(banner, text);
    setHidden(banner, text === "");
  };
  onLink((yes) => {
    answers = yes;
    show();
  });
  life.every(REFRESH, async (signal) => {
    try {
      lacks = await readiness(signal);
    } catch {
      // Not answering is told by onLink.
      lacks = "";
    }
    show();
  });
}
