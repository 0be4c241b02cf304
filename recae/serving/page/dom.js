/* Elements made from parts. Text goes in as text: nothing on this page is ever parsed as HTML. */

export const $ = (id) => document.getElementById(id);

/** An element with attributes (functions become listeners, null and false leave the attribute out) and children. */
export function el(tag, attributes = {}, ...children) {
  return dress(document.createElement(tag), attributes, children);
}

/** The same for an SVG element. */
export function svg(tag, attributes = {}, ...children) {
  return dress(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function dress(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** A bar for a share of 0 to 1; decoration only, the number stands beside it. */
export function bar(share, kind = "") {
  const inner = el("span");
  // A style attribute would be refused by the page's content policy, a property is not.
  inner.style.setProperty("width", `${100 * Math.min(Math.max(share || 0, 0), 1)}%`);
  return el("span", { class: `bar ${kind}`, "aria-hidden": "true" }, inner);
}

/** A text with the words of a search marked in it, as nodes. */
export function marked(text, query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const lower = text.toLowerCase();
  if (lower.length !== text.length) return [text]; // some letters change length: then positions do not fit
  const hit = new Array(text.length).fill(false);
  for (const word of words) {
    for (let at = lower.indexOf(word); at >= 0; at = lower.indexOf(word, at + word.length)) {
      hit.fill(true, at, at + word.length);
    }
  }
  const nodes = [];
  for (let start = 0, end = 0; start < text.length; start = end) {
    while (end < text.length && hit[end] === hit[start]) end += 1;
    const part = text.slice(start, end);
    nodes.push(hit[start] ? el("mark", {}, part) : part);
  }
  return nodes;
}

let saying = 0;

/** Tell a screen reader; quick repeats are joined to the last one. */
export function say(text) {
  clearTimeout(saying);
  saying = setTimeout(() => ($("said").textContent = text), 250);
}

export const whole = (number) => Number(number).toLocaleString("en");

/** Three significant digits, the same width for neighbours: 0.382, 12.3, 0.00041. */
export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(Number(value))) return "–";
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 0.0005 || size >= 1e5) return Number(value).toExponential(1).replace("-", "−");
  const digits = size < 0.01 ? 4 : size < 10 ? 3 : size < 100 ? 2 : 1;
  return Number(value).toFixed(digits).replace("-", "−");
}

/** The server's words begin small and end without a full stop. */
export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? "" : ".");

export const many = (count, one, more = `${one}s`) => `${whole(count)} ${count === 1 ? one : more}`;
