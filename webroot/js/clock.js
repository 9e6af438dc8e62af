// The manager's clock: "in 5 s" is to be true on a phone whose own clock is wrong.

// How far the manager's is ahead of this browser's, in ms.
let offset = 0;

export const now = () => Date.now() + offset;

// Takes the `Date` header of an answer. It has whole seconds, so smaller differences mean nothing.
export function setClock(header) {
  const ahead = Date.parse(header || "") - Date.now();
  if (!Number.isNaN(ahead)) offset = Math.abs(ahead) > 2000 ? ahead : 0;
}
