/* What the page shows, stored in the address: #user=42, #basket=P1,P2, #item=P3, #map, #model, #dashboard. */

export const NUMBER = 10;
const VIEWS = ["recommend", "map", "model", "dashboard"];

export let state = parse(location.hash);

export function parse(hash) {
  const found = { view: "recommend", user: null, basket: [], item: null, n: NUMBER, owned: false, beside: false };
  Object.assign(found, { category: null, from: null, to: null });
  for (const part of hash.replace(/^#/, "").split("&")) {
    const at = part.indexOf("=");
    const key = at < 0 ? part : part.slice(0, at);
    const value = at < 0 ? "" : part.slice(at + 1);
    if (VIEWS.includes(key)) found.view = key;
    else if (key === "user" && value) found.user = decode(value);
    else if (key === "item" && value) found.item = decode(value);
    else if (key === "basket") found.basket = [...new Set(value.split(",").filter(Boolean).map(decode))];
    else if (key === "n") found.n = Math.min(Math.max(Math.trunc(Number(value)) || NUMBER, 1), 1000);
    else if (key === "owned") found.owned = value === "1";
    else if (key === "beside") found.beside = value === "1";
    else if (key === "category" && value) found.category = decode(value);
    else if ((key === "from" || key === "to") && value && Number(value) >= 0 && Number.isFinite(Number(value))) {
      found[key] = Number(value);
    }
  }
  return found;
}

export function format(what) {
  const parts = [];
  if (what.view !== "recommend") parts.push(what.view);
  if (what.user !== null) parts.push(`user=${encodeURIComponent(what.user)}`);
  if (what.basket.length) parts.push(`basket=${what.basket.map(encodeURIComponent).join(",")}`);
  if (what.n !== NUMBER) parts.push(`n=${what.n}`);
  if (what.owned) parts.push("owned=1");
  if (what.beside) parts.push("beside=1");
  if (what.category !== null) parts.push(`category=${encodeURIComponent(what.category)}`);
  if (what.from !== null) parts.push(`from=${what.from}`);
  if (what.to !== null) parts.push(`to=${what.to}`);
  if (what.item !== null) parts.push(`item=${encodeURIComponent(what.item)}`);
  return `#${parts.join("&")}`;
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a lone percent sign, typed by hand
  }
}

let listener = () => {};

/** Call `changed(now, before)` whenever the address does. */
export function follow(changed) {
  listener = changed;
  window.addEventListener("popstate", move);
  window.addEventListener("hashchange", move);
}

function move() {
  const before = state;
  const now = parse(location.hash);
  if (format(now) === format(before)) return;
  state = now;
  listener(now, before);
}

/** Go to the present state with some changes; the back button undoes it, unless `quietly`. */
export function go(changes, { quietly = false } = {}) {
  const hash = format({ ...state, ...changes });
  if (hash === format(state)) return;
  history[quietly ? "replaceState" : "pushState"](null, "", hash === "#" ? location.pathname : hash);
  move();
}

export const inBasket = (id) => state.basket.includes(id);

/** Put a product into the basket, or take it out. */
export function toggle(id) {
  const basket = inBasket(id) ? state.basket.filter((other) => other !== id) : [...state.basket, id];
  go({ basket });
}
