/* The view of the model: how well it was measured to do beside its baselines, how it learned, and what it is. */

import { api } from "./api.js";
import { $, bar, el, many, whole } from "./dom.js";
import { chart } from "./chart.js";
import { load } from "./load.js";

export function showModel() {
  const box = $("model");
  const body = el("div", { class: "model-body" });
  box.replaceChildren(el("h1", { id: "model-title", tabindex: "-1" }, "The model"), body);
  load("model", body, (signal) => api("/model", { signal }), (answer) => [
    measured(answer.metrics, answer.refit?.users),
    learned(answer),
    about(answer),
  ]);
}

function measured(metrics, refitted) {
  const rows = metrics?.rows ?? [];
  if (!rows.length) {
    return el("section", {},
      el("h2", {}, "Not measured"),
      el("p", {}, "This file carries no measurement. recae train writes one, on customers held out of the training."),
    );
  }
  const place = (key) => (key.startsWith("recall@") ? Number(key.slice(7)) : 1e9); // the names come in text order
  const columns = Object.keys(rows[0]).filter((key) => key !== "model").sort((a, b) => place(a) - place(b));
  const best = Object.fromEntries(columns.map((key) => [key, Math.max(...rows.map((row) => row[key] ?? 0))]));
  return el("section", {},
    el("h2", {}, "Beside its baselines"),
    verdict(rows),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Measurements" },
      el("table", { class: "measures" },
        el("thead", {}, el("tr", {}, ["Model", ...columns].map((key) => el("th", { scope: "col" }, key)))),
        el("tbody", {}, rows.map((row, at) =>
          el("tr", { class: at === 0 ? "own" : null },
            el("th", { scope: "row" }, row.model, " ", at === 0 ? el("span", { class: "tag" }, "this one") : null),
            columns.map((key) =>
              el("td", {}, el("span", { class: row[key] === best[key] ? "best" : null }, figure(row[key])),
                bar(row[key] / (best[key] || 1), at === 0 ? "" : "plain")))))),
      ),
    ),
    howMeasured(metrics, refitted),
  );
}

const figure = (value) => (Number.isFinite(value) ? value.toFixed(4) : "–");

/** The main figure in words. The first row is the model's own. */
function verdict(rows) {
  const recalls = Object.keys(rows[0]).filter((key) => key.startsWith("recall@"));
  const key = recalls.includes("recall@20") ? "recall@20" : recalls[0];
  const own = rows[0][key];
  if (!Number.isFinite(own)) return null;
  const others = rows.slice(1).filter((row) => Number.isFinite(row[key])).sort((a, b) => b[key] - a[key]);
  const percent = (value) => `${(100 * value).toFixed(1)} %`;
  const beside = others.map((row) => `${row.model} ${percent(row[key])}`).join(", ");
  return el("p", { class: "lead" },
    "On average, ", el("b", {}, percent(own)),
    " of the products hidden from a customer’s history are among the first "
    + `${key.split("@")[1]} recommendations${beside ? ` (${beside})` : ""}.`);
}

function howMeasured(metrics, refitted) {
  const users = metrics.n_users;
  if (!users) return null;
  // Figures of one customer lie between 0 and 1, so their standard deviation is at most a half.
  const chance = 2 * 0.5 / Math.sqrt(users);
  return el("div", { class: "prose" },
    el("p", {},
      `Measured on ${many(users, "customer")} held out of the training: a part of each history was hidden and `
      + "had to be found from the rest. Nothing was chosen on these customers",
      metrics.validation_users
        ? `; when to stop, and the baselines’ settings, were chosen on ${whole(metrics.validation_users)} others.`
        : "."),
    refitted
      ? el("p", {},
        `Then the model was fitted once more, on all ${many(refitted, "customer")} with what was chosen: the figures `
        + "are of the model before, and the one here has learned from more purchases.")
      : null,
    el("p", {},
      "Each figure is an average over these customers; other customers would give slightly different figures: "
      + `two standard errors are at most ±${chance.toFixed(2)}. A lead much smaller than that may be chance.`),
  );
}

/** The course of training; of a blend it is that of one part, and says nothing of the whole. */
function learned({ history, history_of: of, kind, refit }) {
  if (of === null) return null; // the part that was trained is not in the blend
  const part = of !== undefined && of !== kind;
  const epochs = (history ?? []).filter((epoch) => Number.isFinite(epoch.epoch));
  if (epochs.length < 2) return null;
  const recall = Object.keys(epochs[0]).find((key) => key.startsWith("recall@"));
  const best = recall && epochs.reduce((a, b) => ((b[recall] ?? -1) > (a[recall] ?? -1) ? b : a));
  return el("section", {},
    el("h2", {}, part ? `How its part ${of} learned` : "How it learned"),
    el("div", { class: "charts" },
      recall ? chart(epochs, recall, `Validation ${recall}`, best) : null,
      Number.isFinite(epochs[0].loss) ? chart(epochs, "loss", "Training loss per customer", null) : null,
    ),
    el("p", { class: "small-print" },
      best ? `Epoch ${best.epoch} was the best on the validation customers: ${refit?.users
        ? "the last fit, on all customers, took as many"
        : `its ${part ? "part" : "model"} is the one here`}.` : null,
      part ? " These are figures of the part alone; those of the whole model stand above." : null),
  );
}

function about(answer) {
  const facts = [
    ["Kind", answer.kind],
    ["Parts", parts(answer.config)],
    ["Customers", answer.n_users === null ? "not stored" : whole(answer.n_users)],
    ["Products", whole(answer.n_items)],
    ["Purchases", answer.n_interactions === null ? "not stored" : whole(answer.n_interactions)],
    ["Loaded", when(answer.loaded_at)],
    ["Model", answer.model],
    ["Fingerprint of the data", answer.fingerprint],
  ];
  return el("section", {},
    el("h2", {}, "What it is"),
    factList(facts),
    folded("Configuration", answer.config),
    folded("Versions it was trained with", answer.versions),
    el("p", { class: "small-print" },
      "What this page shows can be had as JSON: ", el("a", { href: "docs" }, "the HTTP API"), "."),
  );
}

/** The parts of a blend, the heaviest first. */
const parts = (config) =>
  Array.isArray(config?.parts)
    ? [...config.parts].sort((a, b) => b.weight - a.weight)
      .map((part) => `${part.kind} ${Number(part.weight).toFixed(2)}`).join(", ")
    : null;

const factList = (facts) =>
  el("dl", { class: "facts" }, facts.filter(([, value]) => value !== undefined && value !== null)
    .map(([what, value]) => [what, String(value)])
    .map(([what, text]) =>
      el("div", { class: text.length > 40 ? "wide" : null }, el("dt", {}, what), el("dd", {}, text))));

function folded(words, values) {
  const facts = Object.entries(values ?? {});
  if (!facts.length) return null;
  const plain = facts.map(([key, value]) => [key, typeof value === "object" ? JSON.stringify(value) : value]);
  return el("details", { class: "fold" }, el("summary", {}, words), factList(plain));
}

function when(time) {
  const date = typeof time === "number" ? new Date(1000 * time) : new Date(time);
  return Number.isNaN(date.getTime()) ? time : date.toLocaleString("en", { dateStyle: "medium", timeStyle: "short" });
}
