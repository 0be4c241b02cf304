/* A part of the page that is filled from the API, with what it shows while waiting and when something is wrong. */

import { Problem } from "./api.js";
import { el, say, sentence } from "./dom.js";

const slots = new Map(); // name -> the AbortController of what is under way there
const SKELETON_AFTER = 150; // milliseconds: a fast answer should not flicker

/** Forget what is under way in a slot. */
export function drop(slot) {
  slots.get(slot)?.abort();
  slots.delete(slot);
}

/**
 * Fill `container` with draw(await request(signal)), where only the last call for a slot counts.
 *
 * `otherwise(problem, again)` may give elements for a problem; null leaves it to the usual box. 503 is tried again
 * when the server says, with `waiting` as the words.
 */
export async function load(slot, container, request, draw, { otherwise = () => null, waiting } = {}) {
  drop(slot);
  const mine = new AbortController();
  slots.set(slot, mine);
  const again = () => load(slot, container, request, draw, { otherwise, waiting });
  container.setAttribute("aria-busy", "true");
  const skeleton = setTimeout(() => {
    if (slots.get(slot) === mine && !container.childElementCount) container.replaceChildren(bones());
  }, SKELETON_AFTER);
  try {
    const answer = await request(mine.signal);
    if (slots.get(slot) === mine) container.replaceChildren(...[draw(answer)].flat().filter(Boolean));
  } catch (error) {
    if (error.name === "AbortError" || slots.get(slot) !== mine) return;
    if (!(error instanceof Problem)) {
      console.error(error);
      const detail = "this page cannot show the server's answer";
      container.replaceChildren(trouble(new Problem(UNREADABLE, { detail })));
    } else if (error.status === 503) {
      container.replaceChildren(wait(error, waiting));
      setTimeout(() => slots.get(slot) === mine && again(), 1000 * Math.min(error.retryAfter ?? 2, 30));
    } else {
      container.replaceChildren(...[otherwise(error, again) ?? trouble(error, again)].flat());
    }
  } finally {
    clearTimeout(skeleton);
    if (slots.get(slot) === mine || !slots.has(slot)) container.removeAttribute("aria-busy");
  }
}

const UNREADABLE = -1; // stands where a status would

const HEADINGS = {
  [UNREADABLE]: "This page failed",
  0: "The server is gone",
  401: "A token is needed",
  404: "Not in this model",
  413: "That is too much at once",
  422: "The server cannot work with this",
};
const ADVICE = {
  0: "Is recae serve still running? Nothing on this page is lost: start it again, then try again.",
};

/** A box that says what went wrong, in the server's words, and offers to try again. */
export function trouble(problem, again, ...more) {
  const heading = HEADINGS[problem.status] ?? "The server failed";
  say(`${heading}. ${sentence(problem.message)}`);
  return el("div", { class: "notice bad" },
    el("h2", {}, heading),
    el("p", {}, sentence(problem.message)),
    ADVICE[problem.status] && el("p", {}, ADVICE[problem.status]),
    more,
    again && el("p", {}, el("button", { type: "button", class: "primary", click: again }, "Try again")),
  );
}

function wait(problem, words = "The server is busy") {
  say(words);
  return el("div", { class: "notice" },
    el("h2", {}, words),
    el("p", {}, sentence(problem.message)),
    el("p", { class: "pulse" }, "This page asks again by itself."),
  );
}

const bones = () =>
  el("div", { class: "bones" },
    el("span", { class: "unseen" }, "Loading"),
    Array.from({ length: 5 }, () => el("i")),
  );
