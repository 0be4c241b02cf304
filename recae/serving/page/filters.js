/* The filters by category and price, where the model has a table of products. */

import { api } from "./api.js";
import { $, el, whole } from "./dom.js";
import { price } from "./facts.js";
import { go, state } from "./state.js";

/** The fields of a request that the state's filters are. */
export const filtersOf = (now) => ({
  ...(now.category === null ? {} : { categories: [now.category] }),
  ...(now.from === null ? {} : { price_from: now.from }),
  ...(now.to === null ? {} : { price_to: now.to }),
});

export const isFiltered = (now) => Object.keys(filtersOf(now)).length > 0;

export const noFilters = { category: null, from: null, to: null };

export async function prepareFilters() {
  const box = $("filters");
  let answer;
  try {
    answer = await api("/filters");
  } catch {
    return; // then there are none; the results say what is wrong with the server
  }
  if (answer.categories.length) {
    box.append(el("label", {}, "Category",
      el("select", { id: "category", change: (event) => go({ category: event.target.value || null }) },
        el("option", { value: "" }, "All"),
        answer.categories.map(({ category, items }) =>
          el("option", { value: category }, `${category} (${whole(items)})`)))));
  }
  if (answer.price_to !== null) {
    box.append(
      el("div", { class: "prices" },
        amount("from", "Price from", answer.price_from), amount("to", "Price to", answer.price_to)));
  }
  box.hidden = !box.childElementCount;
  showFilters(state);
}

function amount(key, words, end) {
  return el("label", {}, words,
    el("input", {
      id: `price-${key}`, type: "number", min: 0, step: "any", inputmode: "decimal", placeholder: price(end),
      change: ({ target }) => {
        const value = target.value === "" ? null : Number(target.value);
        go({ [key]: Number.isFinite(value) && value >= 0 ? value : null });
      },
    }));
}

/** Let the controls show the state. */
export function showFilters(now) {
  const category = $("category");
  if (category) {
    if (now.category !== null && ![...category.options].some((option) => option.value === now.category)) {
      category.append(el("option", { value: now.category }, now.category));
    }
    category.value = now.category ?? "";
  }
  for (const key of ["from", "to"]) if ($(`price-${key}`)) $(`price-${key}`).value = now[key] ?? "";
}
