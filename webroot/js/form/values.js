// How a field's text and a job's value become each other: `show(value)`, `take(text, field)`, which gives undefined
// for nothing, and `fits(value)`, false where the text could not hold the value.

// A text that a field cannot take, found here and not by the manager.
export class FieldProblem extends Error {
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

const some = (list) => (list.length ? list : undefined);

export const linesOf = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);

const WHOLE = /^-?\d+$/;

export const asText = {
  show: (value) => value ?? "",
  take: (text) => text.trim() || undefined,
};

// With its blanks.
export const asRaw = {
  show: (value) => value ?? "",
  take: (text) => text || undefined,
};

export const asNumber = {
  show: (value) => String(value ?? ""),
  take(text, field) {
    const given = text.trim();
    if (given === "") return undefined;
    if (!WHOLE.test(given)) throw new FieldProblem(field, `“${given}” is not a whole number. For example: 3`);
    return Number(given);
  },
};

export const asLines = {
  show: (value) => [value ?? []].flat().join("\n"),
  take: (text) => some(linesOf(text)),
};

// A program's arguments. Blanks belong to them, but a line of nothing else is none, and a line break ends the line.
const isArgument = (line) => /\S/.test(line) && !/[\r\n]/.test(line);
export const asArguments = {
  show: asLines.show,
  take: (text) => some(text.split("\n").filter(isArgument)),
  fits: (value) => [value ?? []].flat().every(isArgument),
};

export const asWords = {
  show: (value) => [value ?? []].flat().join(", "),
  take: (text) => some(text.split(/[\s,]+/).filter(Boolean)),
  fits: (value) => [value ?? []].flat().every((word) => /^[^\s,]+$/.test(word)),
};

export const asCodes = {
  show: asWords.show,
  take: (text, field) => asWords.take(text)?.map((word) => {
    if (!WHOLE.test(word)) throw new FieldProblem(field, `“${word}” is not an exit code. For example: 1, 75`);
    return Number(word);
  }),
};

export const asPairs = {
  show: (value) => Object.entries(value ?? {}).map((pair) => pair.join("=")).join("\n"),
  take(text, field) {
    const pairs = linesOf(text).map((line) => {
      const cut = line.indexOf("=");
      if (cut < 1) throw new FieldProblem(field, `“${line}” is not a name and a value. For example: LEVEL=9`);
      return [line.slice(0, cut), line.slice(cut + 1)];
    });
    return pairs.length ? Object.fromEntries(pairs) : undefined;
  },
  // A value with a line break, or blanks at its ends, cannot stand in one line.
  fits: (value) => Object.entries(value ?? {}).every(([name, text]) => `${name}=${text}` === `${name}=${text}`.trim() && !/[\r\n]/.test(text)),
};

const isHeader = (name, text) => `${text}` === `${text}`.trim() && !/[\r\n]/.test(`${name}${text}`);
export const asHeaders = {
  show: (value) => Object.entries(value ?? {}).map((pair) => pair.join(": ")).join("\n"),
  take(text, field) {
    const pairs = linesOf(text).map((line) => {
      const cut = line.indexOf(":");
      if (cut < 1) throw new FieldProblem(field, `“${line}” is not a header. For example: Accept: application/json`);
      return [line.slice(0, cut).trim(), line.slice(cut + 1).trim()];
    });
    return pairs.length ? Object.fromEntries(pairs) : undefined;
  },
  fits: (value) => Object.entries(value ?? {}).every(([name, text]) => isHeader(name, text)),
};

// Statuses and ranges of them: numbers stay numbers.
export const asStatuses = {
  ...asWords,
  take: (text) => asWords.take(text)?.map((word) => (WHOLE.test(word) ? Number(word) : word)),
};

// Any value, or none.
export const asJsonValue = {
  show: (value) => (value === undefined ? "" : JSON.stringify(value, null, 2)),
  take(text, field) {
    if (text.trim() === "") return undefined;
    try {
      return JSON.parse(text);
    } catch (error) {
      throw new FieldProblem(field, `This is not valid JSON: ${error.message}`);
    }
  },
};

export const asJson = {
  show: (value) => JSON.stringify(value, null, 2),
  take(text, field) {
    let value;
    try {
      value = JSON.parse(text);
    } catch (error) {
      throw new FieldProblem(field, `This is not valid JSON: ${error.message}`);
    }
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw new FieldProblem(field, "A job is a JSON object.");
    return value;
  },
};
