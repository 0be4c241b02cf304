/* Parts that several views share: a product's link, the button that puts it into the basket, a line of a list. */

import { nameOf, remember } from "./api.js";
import { bar, el } from "./dom.js";
import { facts } from "./facts.js";
import { format, inBasket, state } from "./state.js";

/** A link that opens the product; page.js turns the click into a change of the state. */
export const productLink = (id) =>
  el("a", { class: "name", href: format({ ...state, item: id }), "data-item": id }, nameOf(id));

/** Puts a product into the basket or takes it out; page.js listens, `refreshToggles` keeps all of them right. */
export function basketToggle(id, words = "Add") {
  const button = el("button", { type: "button", class: "small toggle", "data-toggle": id, "data-words": words });
  return dressToggle(button);
}

function dressToggle(button) {
  const id = button.dataset.toggle;
  const inside = inBasket(id);
  button.textContent = inside ? "In basket" : button.dataset.words;
  button.setAttribute("aria-pressed", String(inside));
  // The words that can be seen come first, so that they can also be said.
  button.setAttribute("aria-label", inside ? `In basket: ${nameOf(id)}` : `Add to basket: ${nameOf(id)}`);
  return button;
}

export const refreshToggles = () => document.querySelectorAll("[data-toggle]").forEach(dressToggle);

/** Products as a list of lines; each item may have a `share` (a bar), a `value` and a `title` that explains it. */
export function productList(items, { label, each = () => ({}) }) {
  remember(items);
  return el("ul", { class: "lines", "aria-label": label },
    items.map((item) => {
      const { share, value, title } = each(item);
      return el("li", {},
        productLink(item.item_id),
        value === undefined ? null : el("span", { class: "value", title }, value),
        share === undefined ? null : bar(share),
        known(item),
        basketToggle(item.item_id),
      );
    }),
  );
}

function known(item) {
  const parts = facts(item).filter(Boolean);
  return parts.length ? el("p", { class: "small-print known" }, parts) : null;
}

export const idOf = (id) => (nameOf(id) === id ? null : el("span", { class: "id" }, id));
