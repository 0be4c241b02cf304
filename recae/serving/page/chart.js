/* A small line chart of one figure over the epochs. */

import { el, number, svg } from "./dom.js";

const [WIDTH, HEIGHT] = [320, 140];
const EDGE = { left: 46, right: 12, top: 12, bottom: 24 };

/** A figure with the line of `key` over `epochs`; `best`, one of the epochs, is marked. */
export function chart(epochs, key, words, best) {
  const points = epochs.filter((epoch) => Number.isFinite(epoch[key]));
  const values = points.map((epoch) => epoch[key]);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const [first, last] = [points[0].epoch, points.at(-1).epoch];
  const x = (epoch) => EDGE.left + ((epoch - first) / (last - first || 1)) * (WIDTH - EDGE.left - EDGE.right);
  const y = (value) => HEIGHT - EDGE.bottom - ((value - low) / (high - low || 1)) * (HEIGHT - EDGE.top - EDGE.bottom);
  const line = points.map((epoch) => `${x(epoch.epoch).toFixed(1)},${y(epoch[key]).toFixed(1)}`).join(" ");
  const text = (at, down, what, anchor) => svg("text", { x: at, y: down, "text-anchor": anchor }, what);
  const described = `${words}: from ${number(values[0])} in epoch ${first} `
    + `to ${number(values.at(-1))} in epoch ${last}`
    + (best ? `, best ${number(best[key])} in epoch ${best.epoch}` : "");
  return el("figure", { class: "chart" },
    el("figcaption", {}, words),
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": described },
      svg("path", { class: "axis", d: `M${EDGE.left} ${EDGE.top}V${HEIGHT - EDGE.bottom}H${WIDTH - EDGE.right}` }),
      text(EDGE.left - 6, EDGE.top + 4, number(high), "end"),
      text(EDGE.left - 6, HEIGHT - EDGE.bottom, number(low), "end"),
      text(EDGE.left, HEIGHT - 6, `epoch ${first}`, "start"),
      text(WIDTH - EDGE.right, HEIGHT - 6, String(last), "end"),
      svg("polyline", { points: line }),
      best ? svg("circle", { cx: x(best.epoch), cy: y(best[key]), r: 4.5 }) : null,
    ),
  );
}
