/* The view at a glance: how often it is right, what its lists cover, whom they favour, what is no product, who asks. */

import { api, remember } from "./api.js";
import { $, el, many, whole } from "./dom.js";
import { load } from "./load.js";
import { productLink } from "./parts.js";

export function showDashboard() {
  const box = $("dashboard");
  const body = el("div", { class: "model-body" });
  box.replaceChildren(el("h1", { id: "dashboard-title", tabindex: "-1" }, "At a glance"), body);
  load("dashboard", body,
    (signal) => Promise.all([api("/model", { signal }), api("/dashboard", { signal })]),
    ([model, answer]) => [recall(model.metrics), ...lists(answer.lists), services(answer.lists), traffic(answer)]);
}

const percent = (share) => (share === null || share === undefined ? "–" : `${(100 * share).toFixed(1)} %`);

const figure = (title, value, ...words) =>
  el("section", { class: "glance" }, el("h2", {}, title), el("p", { class: "figure" }, value),
    el("p", { class: "small-print" }, ...words));

/** Recall with its interval; of an older file one that holds whatever the spread of the customers' figures. */
function recall(metrics) {
  const own = metrics?.rows?.[0] ?? {};
  const keys = Object.keys(own).filter((key) => key.startsWith("recall@"));
  const key = keys.includes("recall@20") ? "recall@20" : keys[0];
  const value = own[key];
  if (!Number.isFinite(value)) return figure("How often it is right", "–", "This file carries no measurement.");
  const measured = metrics.intervals?.[own.model]?.[key] ?? [];
  if (measured.every(Number.isFinite) && measured.length === 2) {
    return figure("How often it is right", percent(value),
      `of the products hidden from a customer’s history are among the first ${key.slice(7)} (${key}), between `
      + `${percent(measured[0])} and ${percent(measured[1])}: the 95 % interval over customers like these`,
      metrics.n_users ? `, on ${many(metrics.n_users, "customer")}.` : ".");
  }
  const half = metrics.n_users ? 1.96 * Math.sqrt((value * (1 - value)) / metrics.n_users) : null;
  const interval = half === null ? ""
    : `, between ${percent(Math.max(0, value - half))} and ${percent(Math.min(1, value + half))}`;
  return figure("How often it is right", percent(value),
    `of the products hidden from a customer’s history are among the first ${key.slice(7)} (${key})${interval}: `
    + "the widest 95 % interval that figures between 0 and 1 with this average can have",
    metrics.n_users ? `, on ${many(metrics.n_users, "customer")}.` : ".");
}

function lists(summary) {
  if (!summary) {
    return [figure("What the lists hold", "–", "The model keeps no histories, so that nobody’s list can be looked at.")];
  }
  const looked = `in the lists of ${many(summary.customers, "customer")}, ${summary.length} products each`;
  return [
    figure("Coverage of the catalogue", percent(summary.items_given / summary.items),
      `${whole(summary.items_given)} of ${many(summary.items, "product")} are ${looked}; `
      + `so many lists can hold ${whole(summary.most_possible)} at most.`),
    figure("Share of what sells anyway", percent(summary.top_share),
      `of the recommendations are of the ${many(summary.top_items, "product")} that most customers own, a tenth of the `
      + `catalogue; of what customers own, these are ${percent(summary.top_share_owned)}.`),
  ];
}

function services(summary) {
  const found = summary?.services ?? [];
  remember(found);
  return el("section", { class: "glance" },
    el("h2", {}, "No products among them"),
    found.length
      ? el("ul", { class: "lines plain", "aria-label": "Recommended, but no product by name" },
        found.map((item) =>
          el("li", {}, productLink(item.item_id), el("span", { class: "value" }, `in ${percent(item.share)} of the lists`))))
      : el("p", {}, "None of the recommended products is named like postage, a fee or a voucher."),
    found.length ? el("p", { class: "small-print" }, "A rule can keep them out: recae serve --rules.") : null);
}

function traffic({ traffic: routes, traffic_seconds: seconds }) {
  const hours = seconds / 3600;
  const span = hours >= 23.5 ? "the last day" : hours >= 1.5 ? `the last ${Math.round(hours)} hours`
    : `the last ${many(Math.max(1, Math.round(seconds / 60)), "minute")}`;
  return el("section", { class: "glance" },
    el("h2", {}, `Requests of ${span}`),
    hours < 23.5 ? el("p", { class: "small-print" }, "As far back as this process knows.") : null,
    routes.length
      ? el("ul", { class: "lines plain" }, routes.map((one) =>
        el("li", {}, el("code", {}, one.route),
          el("span", { class: "value" }, whole(one.answers) + (one.failed ? `, ${whole(one.failed)} failed` : "")))))
      : el("p", {}, "None so far."));
}
