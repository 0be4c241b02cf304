/* The view of the map: map.js draws it, here it gets its data and its product is opened. */

import { api, remember } from "./api.js";
import { $, el, many, sentence } from "./dom.js";
import { load } from "./load.js";
import { go } from "./state.js";

const AT_MOST = 20000; // products that the server puts on a map
const METHODS = { neighbours: "nearest neighbours", pca: "principal components", tsne: "t-SNE" };
const COLOURS = {
  categories: " Colours are categories.",
  clusters: " Colours are clusters of products, named by their telling words.",
};

let drawn = null; // the drawn map, and the row of each product in it
let marked = null; // the product that the map shows as selected

/** Draw the map once, then only mark product `item` in it. */
export function showMap(item) {
  if (drawn) return mark(item);
  if ($("map-body")) return undefined; // under way, or it said why not
  const body = el("div", { id: "map-body", class: "map-body" });
  $("map").replaceChildren(el("h1", { id: "map-title", tabindex: "-1" }, "Products on a map"), body);
  load(
    "map",
    body,
    (signal) => api("/map", { signal }),
    (answer) => draw(answer, item),
    { waiting: "The map is being drawn", otherwise: unmappable },
  );
  return undefined;
}

function draw(answer, item) {
  const ids = answer.item_id;
  remember(ids.map((item_id, at) => ({ item_id, name: answer.name[at] })));
  const picture = el("div", { class: "map-picture" });
  // It measures itself, so it is drawn once it stands in the page.
  requestAnimationFrame(() => {
    const chosen = (at) => {
      marked = at >= 0 ? ids[at] : null;
      go({ item: marked });
    };
    drawn = {
      picture: window.recaeMap(picture, answer, { kind: "items", onSelect: chosen }),
      rows: new Map(ids.map((id, at) => [id, at])),
    };
    mark(item);
  });
  const cut = ids.length >= AT_MOST;
  const which = cut ? `The ${many(ids.length, "most bought product")}` : many(ids.length, "product");
  return [
    el("p", { class: "lead" },
      `${which}, laid out by ${METHODS[answer.method] ?? answer.method} of the model’s scores: `
      + `neighbours are recommended to the same customers.${COLOURS[answer.coloured_by] ?? ""} Choose one to open it.`),
    picture,
  ];
}

function mark(item) {
  if (item === marked) return; // it was chosen on the map itself, which should not move then
  marked = item;
  drawn.picture.select(drawn.rows.get(item) ?? -1);
}

function unmappable(problem) {
  if (problem.status !== 404) return null;
  return el("div", { class: "notice" },
    el("h2", {}, "This model has no map"),
    el("p", {}, sentence(problem.message)),
  );
}
