// A run that does nothing.

import { asNumber } from "../values.js";

export const noop = {
  kind: "noop",
  words: "Nothing, for tests",
  fields: [
    { path: "driver.noop.for", label: "How long it lasts", placeholder: "no time, or e.g. 90s" },
    { path: "driver.noop.exit", label: "Exit code", as: asNumber, placeholder: "0", attributes: { inputmode: "numeric" } },
  ],
  begin: () => ({ noop: {} }),
  complete: (driver) => ({ noop: { ...driver?.noop } }),
};
