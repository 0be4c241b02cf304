/* The shown list as a file of comma-separated values, made here: nothing is sent anywhere. */

const COLUMNS = ["rank", "item_id", "name", "category", "price", "score", "link"];

/** A field that no spreadsheet takes for a formula: what begins like one gets an apostrophe before it. */
export function field(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const text = String(value);
  const safe = /^[\s]*[=+\-@\uff1d\uff0b\uff0d\uff20]|^[\t\r\n]/u.test(text) ? `'${text}` : text;
  return /[",\r\n;]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** The text of a list; with a mark in front, by which spreadsheets know that it is UTF-8. */
export function csv(items) {
  const rows = [COLUMNS, ...items.map((item) => COLUMNS.map((column) => item[column]))];
  return `\ufeff${rows.map((row) => row.map(field).join(",")).join("\r\n")}\r\n`;
}

export function save(items, name) {
  const address = URL.createObjectURL(new Blob([csv(items)], { type: "text/csv" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
