/* The panel of one product: what is similar to it, what is bought together with it. Beside the page, or over it. */

import { api, nameOf, remember } from "./api.js";
import { $, bar, el, many, number, say, sentence } from "./dom.js";
import { drop, load } from "./load.js";
import { basketToggle, idOf, productList } from "./parts.js";
import { go } from "./state.js";

const N = 10;
const WIDE = window.matchMedia("(min-width: 70rem)"); // there the panel stands beside the results

/** Show product `id`, or close the panel for null. */
export function showProduct(id) {
  const panel = $("product");
  if (id === null) {
    drop("product");
    drop("likely");
    if (panel.open) panel.close();
    return;
  }
  const lists = el("div", { class: "product-lists" });
  const heading = el("h2", { id: "product-title", tabindex: "-1" }, nameOf(id));
  const under = el("p", { class: "small-print" }, idOf(id));
  const add = el("span", {}, basketToggle(id, "Add to basket"));
  panel.replaceChildren(
    el("div", { class: "product-head" },
      el("div", {}, heading, under),
      el("button", {
        type: "button", class: "small quiet close", "aria-label": "Close the product", click: closeProduct,
      }, "Close"),
    ),
    add,
    lists,
  );
  open(panel);
  heading.focus({ preventScroll: true });
  panel.scrollTop = 0;
  const likely = el("section", {});
  load("likely", likely, (signal) => api(`/items/${encodeURIComponent(id)}/customers?n=${N}`, { signal }), buyers,
    { otherwise: () => [] });
  load(
    "product",
    lists,
    (signal) => api(`/similar/${encodeURIComponent(id)}?n=${N}`, { signal }),
    (answer) => {
      remember([answer]);
      heading.textContent = nameOf(id);
      under.replaceChildren(...[idOf(id)].filter(Boolean));
      add.replaceChildren(basketToggle(id, "Add to basket"));
      say(`${nameOf(id)}: ${many(answer.similar.length, "similar product")}`);
      return [likely, similar(answer), together(answer)];
    },
    { otherwise: unknown },
  );
}

/** Customers for whom the product has the highest score, and those who own it. */
function buyers(answer) {
  const owners = el("div", { class: "owners" });
  const most = answer.likely[0]?.score;
  return [
    el("h3", {}, "Who would buy this"),
    answer.likely.length
      ? el("ul", { class: "lines plain", "aria-label": "Customers who would buy this" }, answer.likely.map((one) =>
        el("li", {}, userLink(one.user_id),
          el("span", { class: "value", title: "score" }, number(one.score)),
          most > 0 ? bar(one.score / most) : null)))
      : el("p", { class: "small-print" }, "This model tells nobody apart by this product, or everybody has it."),
    answer.likely.length
      ? el("p", { class: "small-print" }, "They do not own it yet, unless the model is for repeat purchases. "
        + "A high score also says that a customer buys much.")
      : null,
    answer.owners
      ? el("p", {}, el("button", {
        type: "button", class: "small quiet", click: () => showOwners(owners, [answer.item_id]),
      }, `Show ${many(answer.owners, "customer")} who own it`))
      : null,
    owners,
  ];
}

const userLink = (id) =>
  el("a", { class: "name", href: `#user=${encodeURIComponent(id)}`, "data-user": id }, `Customer ${id}`);

/** List customers who own all of these products. */
export function showOwners(box, ids) {
  const query = ids.map((id) => `owns=${encodeURIComponent(id)}`).join("&");
  load("owners", box, (signal) => api(`/users?limit=20&${query}`, { signal }), (answer) => {
    say(answer.users.length ? `Found ${many(answer.users.length, "customer")}` : "No customer owns all of these");
    return [
      answer.users.length
        ? el("ul", { class: "lines plain", "aria-label": "Customers who own this" }, answer.users.map((one) =>
          el("li", {}, userLink(one.user_id), el("span", { class: "value" }, many(one.n_items, "product")))))
        : el("p", { class: "small-print" }, "No customer owns all of these."),
      answer.more ? el("p", { class: "small-print" }, "and more") : null,
    ];
  });
}

export const closeProduct = () => go({ item: null });

function open(panel) {
  if (panel.open) return;
  if (WIDE.matches) panel.show();
  else panel.showModal();
}

/** Keep the panel's kind right when the window changes, and close it by the address. */
export function prepareProduct() {
  const panel = $("product");
  WIDE.addEventListener("change", () => {
    if (!panel.open) return;
    panel.close();
    open(panel);
  });
  panel.addEventListener("cancel", (event) => {
    event.preventDefault();
    closeProduct();
  });
  panel.addEventListener("click", (event) => {
    if (event.target === panel && !WIDE.matches) closeProduct(); // beside the sheet: the backdrop
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !panel.open || panel.matches(":modal")) return;
    // The map takes the key for itself, to end its selection.
    if (!event.defaultPrevented || $("map").contains(event.target)) closeProduct();
  });
}

function similar(answer) {
  const items = answer.similar;
  return el("section", {},
    el("h3", {}, "Similar products"),
    items.length
      ? productList(items, {
        label: "Similar products",
        each: (item) => ({ share: item.similarity, value: number(item.similarity), title: answer.metric }),
      })
      : el("p", { class: "small-print" }, "This kind of model scores every customer alike, so that products cannot be compared by it."),
    items.length && answer.metric ? el("p", { class: "small-print" }, sentence(`by ${answer.metric}`)) : null,
  );
}

function together(answer) {
  const items = answer.bought_together;
  const most = Math.max(1, ...items.map((item) => item.users));
  return el("section", {},
    el("h3", {}, "Bought together"),
    items.length
      ? productList(items, {
        label: "Products bought together",
        each: (item) => ({
          share: item.users / most,
          value: `${item.users.toLocaleString("en")} · ${times(item.lift)}`,
          title: `${many(item.users, "customer")} own both, ${times(item.lift)} as many as by chance`,
        }),
      })
      : el("p", { class: "small-print" },
        "No customer owns this and another product, or the model keeps no histories."),
    items.length
      ? el("p", { class: "small-print" },
        "Customers who own both, and how many times more often than if the two were unrelated.")
      : null,
  );
}

const times = (lift) => `${lift < 10 ? lift.toFixed(1) : Math.round(lift)}×`;

function unknown(problem) {
  if (problem.status !== 404) return null;
  say(problem.message);
  return el("div", { class: "notice bad" },
    el("h3", {}, "Nothing to show for this product"),
    el("p", {}, sentence(problem.message)),
    el("ul", { class: "near" }, problem.nearest.map((id) =>
      el("li", {}, el("a", { href: `#item=${encodeURIComponent(id)}`, "data-item": id }, id)))),
  );
}
