/* The view of recommendations: for a customer or a basket, each with its reasons; without either, where to start. */

import { api, nameOf, remember } from "./api.js";
import { $, bar, el, many, number, say, sentence, whole } from "./dom.js";
import { drop, load } from "./load.js";
import { save } from "./csv.js";
import { facts, described, picture } from "./facts.js";
import { filtersOf, isFiltered, noFilters } from "./filters.js";
import { basketToggle, idOf, productLink, productList } from "./parts.js";
import { go, state } from "./state.js";

const OWNED_AT_MOST = 200;

/** Show what the state says, in #recommend and #history. */
export function showRecommendations(now, before) {
  const who = JSON.stringify(now.user ?? now.basket);
  const changed = !before || who !== JSON.stringify(before.user ?? before.basket);
  if (now.user === null && !now.basket.length) {
    drop("recommend");
    drop("history");
    $("history").hidden = true;
    return showStart();
  }
  const box = $("recommend");
  if (changed || !$("results")) {
    box.replaceChildren(
      el("h1", { id: "title", tabindex: "-1" }, ...title(now)),
      el("div", { id: "results", class: "results" }),
    );
    showHistory(now.user);
  }
  const body = now.user === null ? { items: now.basket } : { user: now.user };
  load(
    "recommend",
    $("results"),
    (signal) => both({ ...body, n: now.n, exclude_owned: !now.owned, ...filtersOf(now) }, now.beside, signal),
    ([answer, other]) => results(answer, other),
    { otherwise: unknown },
  );
}

/** The recommendations, and those of the other model or null; pictures need to know first what is allowed. */
async function both(body, beside, signal) {
  const other = beside ? api("/beside", { body, signal }) : null;
  const [answer, more] = await Promise.all([ask(body, signal), other, described]);
  return [answer, more];
}

/** The recommendations with their reasons, or without where the history is too long for these. */
async function ask(body, signal) {
  try {
    return await api("/recommend", { body: { ...body, explain: true }, signal });
  } catch (problem) {
    if (!problem.type?.endsWith(":too-long-to-explain")) throw problem;
    const answer = await api("/recommend", { body, signal });
    answer.recommendations.forEach((pick) => delete pick.because);
    return { ...answer, unexplained: problem.message };
  }
}

function title(now) {
  if (now.user !== null) return ["For customer ", el("b", {}, now.user)];
  return [`For a basket of ${many(now.basket.length, "product")}`];
}

function results(answer, other) {
  const picks = answer.recommendations;
  remember(picks);
  picks.forEach((pick) => remember(pick.because));
  const parts = [];
  if (answer.unknown_items?.length) {
    parts.push(el("p", { class: "notice" }, `Not in this model, so left out: ${answer.unknown_items.join(", ")}`));
  }
  if (answer.unexplained) parts.push(el("p", { class: "notice" }, `Without reasons: ${answer.unexplained}`));
  if (!picks.length) return [...parts, nothingLeft()];
  say(`${many(picks.length, "recommendation")}. First: ${nameOf(picks[0].item_id)}`);
  const largest = Math.max(...picks.flatMap((pick) => (pick.because || []).map((reason) => reason.contribution)));
  const best = picks[0].score;
  const list = el("ol", { class: "picks" }, picks.map((pick) => row(pick, best, largest)));
  parts.push(tools(picks));
  parts.push(other ? sideBySide(list, picks, other) : list);
  if (picks.length < state.n) {
    parts.push(el("p", { class: "aside" }, isFiltered(state) ? "Nothing more fits the filters." : "There is nothing more to recommend."));
  }
  return parts;
}

function tools(picks) {
  const who = state.user === null ? "basket" : `customer-${state.user}`;
  return el("p", { class: "tools" },
    el("button", {
      type: "button", class: "small quiet", click: () => save(picks, `${who.replace(/[^\w.-]+/g, "_")}.csv`),
    }, "Save as CSV"),
    el("button", { type: "button", class: "small quiet", click: () => window.print() }, "Print"),
  );
}

/** This model's list beside the other one's; what only one of them has is marked. */
function sideBySide(list, picks, other) {
  const here = new Set(picks.map((pick) => pick.item_id));
  const theirs = other.recommendations;
  remember(theirs);
  const shared = theirs.filter((pick) => here.has(pick.item_id)).length;
  return el("div", { class: "sides" },
    el("section", {}, el("h2", {}, "This model"), list),
    el("section", {},
      el("h2", {}, "The other model"),
      el("p", { class: "small-print" }, `${other.model} · ${many(shared, "product")} in both lists`),
      el("ol", { class: "picks", "aria-label": "Recommendations of the other model" }, theirs.map((pick) =>
        el("li", { class: "pick" },
          el("span", { class: "rank", "aria-hidden": "true" }, pick.rank),
          el("div", { class: "what" },
            el("h2", {}, productLink(pick.item_id)),
            el("p", { class: "small-print" }, here.has(pick.item_id) ? "in both" : el("b", {}, "only here"), facts(pick))))))),
  );
}

function row(pick, best, largest) {
  return el("li", { class: "pick" },
    el("span", { class: "rank", "aria-hidden": "true" }, pick.rank),
    el("div", { class: "what" },
      picture(pick),
      el("h2", {}, productLink(pick.item_id)),
      el("p", { class: "small-print" }, facts(pick)),
      el("p", { class: "small-print" },
        idOf(pick.item_id), el("span", {}, `score ${number(pick.score)}`), basketToggle(pick.item_id)),
      best > 0 ? bar(pick.score / best) : null,
    ),
    pick.because ? el("div", { class: "why" }, reasons(pick, largest)) : null,
  );
}

function reasons(pick, largest) {
  if (!pick.because?.length) {
    return el("p", { class: "small-print" },
      "Nothing in the history raised this score: everybody would get it.");
  }
  return [
    el("p", { class: "because" }, "because of"),
    el("ul", { class: "reasons" },
      pick.because.map((reason) =>
        el("li", {},
          productLink(reason.item_id),
          el("span", { class: "value" }, `+${number(reason.contribution)}`),
          bar(reason.contribution / largest, "warm"),
        )),
    ),
    rest(pick),
    sum(pick),
  ];
}

/** What stands beside the reasons: the other products together. */
function rest(pick) {
  const { items: count, contribution } = pick.others ?? { items: 0, contribution: 0 };
  if (!count) return null;
  const figure = `${contribution < 0 ? "" : "+"}${number(contribution)}`;
  return el("p", { class: "small-print" }, `and ${many(count, "other product")} `, el("span", { class: "value" }, figure));
}

/** The score taken apart: what the model says before it looks at the history, and what each product adds. */
function sum(pick) {
  const others = pick.others?.items ?? 0;
  const lines = [
    ["Whatever is owned", pick.base],
    ...pick.because.map((reason) => [nameOf(reason.item_id), reason.contribution]),
    ...(others ? [[many(others, "other product"), pick.others.contribution]] : []),
  ];
  const shown = addingUp(lines.map(([, value]) => value), pick.score);
  return el("details", { class: "sum" },
    el("summary", {}, "The whole sum"),
    el("table", {},
      el("tbody", {}, lines.map(([what], at) =>
        el("tr", {}, el("th", { scope: "row" }, what), el("td", {}, shown.values[at])))),
      el("tfoot", {}, el("tr", {}, el("th", { scope: "row" }, "Score"), el("td", {}, shown.total))),
    ),
    el("p", { class: "small-print" },
      "What each product adds to the score. The lines sum to it, and nothing is left over."),
  );
}

/** Texts of numbers with the same decimals, which sum to that of the total as they are shown. */
function addingUp(values, total) {
  const size = Math.abs(total) || Math.max(...values.map(Math.abs));
  const few = size > 0 && size < 0.0005; // which number() writes with an exponent, that is to say not in a column
  const digits = few ? Math.min(2 - Math.floor(Math.log10(size)), 12) : size < 0.01 ? 4 : size < 10 ? 3 : size < 100 ? 2 : 1;
  const unit = 10 ** digits;
  const whole = values.map((value) => Math.round(value * unit));
  const missing = Math.round(total * unit) - whole.reduce((sum, value) => sum + value, 0);
  const step = Math.sign(missing);
  const lost = values.map((value, at) => [step * (value * unit - whole[at]), at]).sort((a, b) => b[0] - a[0]);
  for (let left = 0; left < Math.abs(missing); left += 1) whole[lost[left % lost.length][1]] += step;
  const text = (value) => (value / unit).toFixed(digits).replace("-", "−");
  return { values: whole.map(text), total: text(Math.round(total * unit)) };
}

function nothingLeft() {
  say("Nothing is left to recommend.");
  if (isFiltered(state)) {
    return el("div", { class: "notice" },
      el("h2", {}, "Nothing fits the filters"),
      el("p", {}, "No product of this category and price is left to recommend."),
      el("p", {}, el("button", { type: "button", class: "primary", click: () => go(noFilters) }, "Show all products")),
    );
  }
  return el("div", { class: "notice" },
    el("h2", {}, "Nothing is left to recommend"),
    el("p", {}, "Every product of the model is owned already."),
    state.owned ? null
      : el("p", {}, el("button", { type: "button", class: "primary", click: () => go({ owned: true }) },
        "Include what is owned")),
  );
}

/** An unknown customer or basket: the nearest ids as links. */
function unknown(problem) {
  if (problem.status !== 404) return null;
  const key = state.user === null ? "item" : "user";
  const near = el("ul", { class: "near" });
  const fill = (ids) => near.replaceChildren(...ids.map((id) => el("li", {}, nearLink(key, id))));
  if (problem.nearest.length) fill(problem.nearest);
  else if (key === "user") similarIds(state.user).then(fill, () => {});
  say(`Not in this model. ${problem.message}`);
  return el("div", { class: "notice bad" },
    el("h2", {}, key === "user" ? "This model does not know the customer" : "This model knows none of the products"),
    el("p", {}, sentence(problem.message)),
    near,
  );
}

function nearLink(key, id) {
  const changes = key === "user" ? { user: id } : { basket: [id] };
  return el("a", {
    href: key === "user" ? `#user=${encodeURIComponent(id)}` : `#basket=${encodeURIComponent(id)}`,
    click: (event) => {
      event.preventDefault();
      go(changes);
    },
  }, id);
}

/** Known ids that begin like an unknown one, from the longest beginning that some have. */
async function similarIds(id) {
  for (let length = id.length; length > 0; length -= 1) {
    const found = await api(`/users?q=${encodeURIComponent(id.slice(0, length))}&limit=5`);
    if (found.users.length) return found.users.map((user) => user.user_id);
  }
  return [];
}

function showHistory(user) {
  const box = $("history");
  box.hidden = user === null;
  if (user === null) return drop("history");
  box.replaceChildren();
  load(
    "history",
    box,
    (signal) => api(`/users/${encodeURIComponent(user)}/items?limit=${OWNED_AT_MOST}`, { signal }),
    (answer) => {
      const rest = answer.n_items - answer.items.length;
      return [
        el("h2", { id: "history-title" }, `Owns ${many(answer.n_items, "product")}`),
        answer.n_items === 0
          ? el("p", { class: "small-print" }, "So these are the recommendations that any new customer would get.")
          : productList(answer.items, { label: "Owned products" }),
        rest > 0 ? el("p", { class: "small-print" }, `and ${whole(rest)} more`) : null,
      ];
    },
    { otherwise: (problem) => (problem.status === 404 ? ((box.hidden = true), []) : null) },
  );
}

/** Nobody chosen yet: what this is, and somewhere to begin. */
function showStart() {
  const [users, items] = [el("div", { class: "begin" }), el("div", { class: "begin" })];
  $("recommend").replaceChildren(
    el("h1", { id: "title", tabindex: "-1" }, "Who is it for?"),
    el("p", { class: "lead" },
      "Choose a customer, or put a few products into a basket. "
      + "Every recommendation says which products it comes from."),
    el("div", { class: "starts" },
      el("section", { "aria-labelledby": "start-users" },
        el("h2", { id: "start-users" }, "Some customers"), users),
      el("section", { "aria-labelledby": "start-items" },
        el("h2", { id: "start-items" }, "Most bought products"), items),
    ),
  );
  load("start-users", users, (signal) => api("/users?q=&limit=12", { signal }), (answer) =>
    answer.users.length
      ? el("ul", { class: "lines plain" }, answer.users.map((user) =>
        el("li", {},
          el("a", { class: "name", href: `#user=${encodeURIComponent(user.user_id)}`, "data-user": user.user_id },
            `Customer ${user.user_id}`),
          el("span", { class: "value" }, many(user.n_items, "product")))))
      : noCustomers(),
  { otherwise: (problem) => (problem.status === 404 ? noCustomers() : null) });
  load("start-items", items, (signal) => api("/items?q=&limit=8", { signal }), (answer) => {
    const most = Math.max(1, ...answer.items.map((item) => item.owners));
    return productList(answer.items, {
      label: "Most bought products",
      each: (item) => ({ share: item.owners / most, value: whole(item.owners), title: "customers who own it" }),
    });
  });
}

const noCustomers = () =>
  el("p", { class: "small-print" }, "This model was saved without histories; build a basket instead.");
