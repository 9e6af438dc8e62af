// A member of a job by its path: "retry.attempts".

export function readMember(job, path) {
  return path.split(".").reduce((value, name) => value?.[name], job);
}

// Writes `value`; undefined takes the member away, and what it stood in if that is empty then.
export function writeMember(job, path, value) {
  const names = path.split(".");
  const last = names.pop();
  const chain = [job];
  for (const name of names) {
    const inside = chain.at(-1);
    if (typeof inside[name] !== "object" || inside[name] === null) {
      if (value === undefined) return;
      inside[name] = {};
    }
    chain.push(inside[name]);
  }
  if (value !== undefined) chain.at(-1)[last] = value;
  else delete chain.at(-1)[last];
  for (let depth = names.length; value === undefined && depth > 0; depth -= 1) {
    if (Object.keys(chain[depth]).length > 0) break;
    delete chain[depth - 1][names[depth - 1]];
  }
}
