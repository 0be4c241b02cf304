/* The page: which view is shown, the controls at the side, and clicks on products wherever they are. */

import { api, hasName, nameOf, remember } from "./api.js";
import { combobox } from "./combobox.js";
import { $, el, many, marked, say, whole } from "./dom.js";
import { showDashboard } from "./dashboard.js";
import { described } from "./facts.js";
import { filtersOf, prepareFilters, showFilters } from "./filters.js";
import { showMap } from "./mapview.js";
import { showModel } from "./model.js";
import { refreshToggles } from "./parts.js";
import { prepareProduct, showOwners, showProduct } from "./product.js";
import { showRecommendations } from "./recommend.js";
import { follow, format, go, state, toggle } from "./state.js";

const VIEWS = ["recommend", "map", "model", "dashboard"];
const SUGGESTED = 12;

function show(now, before) {
  for (const view of VIEWS) $(view).hidden = view !== now.view;
  $("frame").dataset.view = now.view;
  showControls(now);
  const asked = (what) =>
    JSON.stringify([what.user ?? what.basket, what.n, what.owned, what.beside, filtersOf(what)]);
  const arrived = now.view !== before?.view;
  if (now.view === "recommend" && (!shown.recommend || asked(now) !== shown.recommend.asked)) {
    showRecommendations(now, shown.recommend?.state);
    shown.recommend = { asked: asked(now), state: now };
  }
  if (now.view === "map") showMap(now.item);
  if (now.view === "model" && arrived) showModel();
  if (now.view === "dashboard" && arrived) showDashboard();
  if (now.item !== (before?.item ?? null)) showProduct(now.item);
  refreshToggles();
  document.title = title(now);
  if (before && arrived) document.querySelector(`#${now.view} h1`)?.focus();
}

const shown = {}; // what the recommendations stand for, so that they are not asked for twice

function title(now) {
  const views = { map: "Map", model: "Model", dashboard: "At a glance" };
  const who = now.user !== null ? `Customer ${now.user}` : now.basket.length ? "Basket" : "";
  return [now.item !== null && nameOf(now.item), views[now.view] ?? who, "recae"].filter(Boolean).join(" · ");
}

function showControls(now) {
  for (const link of document.querySelectorAll("a[data-view]")) {
    const start = link.classList.contains("brand");
    link.href = start ? "#" : format({ ...now, view: link.dataset.view, item: null });
    if (!start && link.dataset.view === now.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  $("user-field").classList.toggle("on", now.user !== null);
  $("basket-field").classList.toggle("on", now.user === null && now.basket.length > 0);
  $("who").replaceChildren(...(now.user === null ? [] : [chip(now.user, "customer", () => go({ user: null }))]));
  $("chips").replaceChildren(...now.basket.map((id) => chip(nameOf(id), "from the basket", () => toggle(id), id)));
  $("basket-actions").hidden = now.basket.length === 0;
  $("count").hidden = now.basket.length === 0;
  $("count").textContent = now.basket.length;
  $("use-basket").hidden = now.user === null;
  const number = $("number");
  if (![...number.options].some((option) => option.value === String(now.n))) number.append(el("option", {}, now.n));
  number.value = String(now.n);
  $("owned").checked = now.owned;
  $("beside").checked = now.beside;
  $("owners").replaceChildren();
  showFilters(now);
  nameBasket(now.basket);
}

/** Removing a chip moves the focus to its neighbour, so that the keyboard does not start over. */
function chip(words, from, remove, id = null) {
  return el("li", { class: "chip", "data-chip": id },
    el("span", {}, words),
    el("button", {
      type: "button",
      "aria-label": `Remove ${words} ${from}`,
      click: (event) => {
        const list = event.target.closest("ul");
        const at = [...list.children].indexOf(event.target.closest("li"));
        remove();
        say(`Removed ${words}`);
        const left = list.querySelectorAll("button");
        (left[Math.min(at, left.length - 1)] ?? list.closest(".field").querySelector("input")).focus();
      },
    }, el("span", { class: "cross", "aria-hidden": "true" })),
  );
}

/** Ids that came by the address have no names yet: ask for them, one after another. */
async function nameBasket(ids) {
  for (const id of ids.filter((id) => !hasName(id) && !nameBasket.asked.has(id))) {
    nameBasket.asked.add(id);
    try {
      const found = await api(`/items?q=${encodeURIComponent(id)}&limit=100`);
      remember(found.items.filter((item) => item.item_id === id));
    } catch {
      continue; // an unknown product keeps its id; the results say so
    }
    const name = document.querySelector(`[data-chip="${CSS.escape(id)}"] span`);
    if (name) name.textContent = nameOf(id);
  }
}
nameBasket.asked = new Set();

function chooseUser(user) {
  if (window.matchMedia("(pointer: coarse)").matches) $("user").blur(); // the keys on the screen hide the results
  go({ user, view: "recommend", item: null });
}

function prepareControls() {
  combobox($("user"), {
    suggest: async (query, signal) => {
      const found = await api(`/users?q=${encodeURIComponent(query)}&limit=${SUGGESTED}`, { signal });
      return {
        options: found.users.map((user) => ({
          value: user.user_id,
          label: `${user.user_id}, ${many(user.n_items, "product")}`,
          nodes: [
            el("span", {}, marked(user.user_id, query)),
            el("span", { class: "value" }, many(user.n_items, "product")),
          ],
        })),
        more: found.more,
        empty: "No customer id contains this.",
      };
    },
    choose: chooseUser,
    typed: chooseUser,
  });
  combobox($("basket"), {
    suggest: async (query, signal) => {
      const found = await api(`/items?q=${encodeURIComponent(query)}&limit=${SUGGESTED}`, { signal });
      remember(found.items);
      return {
        options: found.items.map((item) => ({
          value: item.item_id,
          label: [item.name, item.item_id].filter(Boolean).join(", ")
            + (item.owners === null ? "" : `, ${many(item.owners, "owner")}`),
          nodes: [
            el("span", {}, marked(item.name || item.item_id, query)),
            item.name ? el("span", { class: "id" }, marked(item.item_id, query)) : null,
            item.owners === null ? null
              : el("span", { class: "value", title: "customers who own it" }, whole(item.owners)),
          ],
        })),
        more: found.more,
        empty: "No product name contains all of these words.",
      };
    },
    choose: (id) => {
      if (state.basket.includes(id)) return say(`${nameOf(id)} is in the basket already`);
      toggle(id);
      say(`Added ${nameOf(id)}`);
    },
  });
  $("number").addEventListener("change", (event) => go({ n: Number(event.target.value) }));
  $("owned").addEventListener("change", (event) => go({ owned: event.target.checked }));
  $("beside").addEventListener("change", (event) => go({ beside: event.target.checked }));
  $("who-owns").addEventListener("click", () => showOwners($("owners"), state.basket));
  $("use-basket").addEventListener("click", () => go({ user: null, view: "recommend" }));
  $("empty-basket").addEventListener("click", () => {
    go({ basket: [] });
    $("basket").focus();
  });
}

function prepareClicks() {
  $("skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address holds the state
    $("main").focus();
  });
  document.addEventListener("click", (event) => {
    const toggled = event.target.closest("[data-toggle]");
    if (toggled) {
      const id = toggled.dataset.toggle;
      say(state.basket.includes(id) ? `Removed ${nameOf(id)} from the basket` : `Added ${nameOf(id)} to the basket`);
      return toggle(id);
    }
    const link = event.target.closest("[data-item], [data-user]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    if (link.dataset.item !== undefined) go({ item: link.dataset.item });
    else go({ user: link.dataset.user, view: "recommend" });
  });
}

/** The head says how old all of this is. */
async function showDates() {
  const model = await described;
  if (!model) return;
  const day = (time) => new Date(time).toLocaleDateString("en", { dateStyle: "medium", timeZone: "UTC" });
  const words = [
    model.written_at && `Model of ${day(model.written_at)}`,
    model.last_purchase && `purchases up to ${day(model.last_purchase)}`,
  ].filter(Boolean).join(", ");
  $("dates").textContent = words;
  $("dates").hidden = !words;
  $("beside-field").hidden = !model.beside;
}

showDates();
prepareFilters();
prepareControls();
prepareClicks();
prepareProduct();
follow(show);
show(state, null);
