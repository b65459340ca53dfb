/**
 * Filters and orders as text, in the grammar of `runlode runs`.
 */

const QUOTES = ["`", '"', "'"];

/** A text in quotes that it does not hold; null if it holds all of them. */
function inQuotes(text, quotes) {
  const quote = quotes.find((one) => !text.includes(one));
  return quote ? quote + text + quote : null;
}

/** The name of a field: keys are quoted, and the end of a metric (`.min`) stays outside. */
export function fieldName(column) {
  const [kind, key] = column.split(/\.(.*)/s);
  if (key === undefined) {
    return column;
  }
  const end = kind === "metrics" ? /^(.+)(\.(?:min|max|first|count))$/.exec(key) : null;
  return `${kind}.${inQuotes(end ? end[1] : key, QUOTES) ?? key}${end ? end[2] : ""}`;
}

/** A filter for a value of a text field; `null`: for runs without one. */
export function equals(column, value) {
  const field = fieldName(column);
  if (value === null) {
    return `${field} IS NULL`;
  }
  const text = inQuotes(value, ["'", '"', "`"]);
  // No quote is left for such a text: a wildcard stands for the one that ends it.
  return text ? `${field} = ${text}` : `${field} LIKE '${value.replaceAll("'", "_")}'`;
}

/** A filter for runs with one of these ids. */
export function oneOf(ids) {
  return `run_id IN (${ids.map((id) => `'${id}'`).join(", ")})`;
}

/** All of these filters; empty ones ask for nothing. */
export function both(...filters) {
  const some = filters.filter((filter) => filter && filter.trim());
  return some.length > 1 ? some.map((filter) => `(${filter})`).join(" AND ") : some[0] || "";
}
