/* A text field with suggestions, by the combobox pattern: arrows, Home, End, Enter, Escape, and the mouse. */

import { Problem } from "./api.js";
import { el, many, say } from "./dom.js";

const PAUSE = 120; // milliseconds without a key before the server is asked

/**
 * Make `input` a combobox.
 *
 * `suggest(query, signal)` gives {options: [{value, nodes, label}], more, empty}; `choose(value)` takes what was
 * chosen; `typed(text)`, where given, takes Enter with nothing highlighted, else Enter takes the first suggestion.
 */
export function combobox(input, { suggest, choose, typed }) {
  const id = `${input.id}-list`;
  const list = el("ul", { class: "options-list", role: "listbox", id, "aria-label": "Suggestions" });
  const note = el("p", { class: "options-note" });
  const popup = el("div", { class: "popup", hidden: true }, list, note);
  input.after(popup);
  for (const [name, value] of Object.entries({
    role: "combobox",
    "aria-autocomplete": "list",
    "aria-expanded": "false",
    "aria-controls": id,
  })) input.setAttribute(name, value);

  let options = [];
  let active = -1;
  let answered = null; // the text that `options` belong to
  let wanted = false; // Enter came before the suggestions did
  let timer = 0;
  let request = null;

  const close = () => {
    clearTimeout(timer);
    request?.abort();
    request = null;
    popup.hidden = true;
    input.setAttribute("aria-expanded", "false");
    highlight(-1);
    answered = null;
    wanted = false;
  };

  const highlight = (index) => {
    active = index;
    [...list.children].forEach((option, at) => option.setAttribute("aria-selected", String(at === index)));
    if (index < 0) return input.removeAttribute("aria-activedescendant");
    input.setAttribute("aria-activedescendant", list.children[index].id);
    list.children[index].scrollIntoView({ block: "nearest" });
  };

  const pick = (index) => {
    const { value } = options[index];
    close();
    input.value = "";
    choose(value);
  };

  const open = async () => {
    const query = input.value.trim();
    request?.abort();
    const mine = (request = new AbortController());
    try {
      const found = await suggest(query, mine.signal);
      if (mine !== request) return;
      options = found.options;
      list.replaceChildren(
        ...options.map(({ nodes, label }, at) =>
          el("li", {
            role: "option", id: `${id}-${at}`, "aria-selected": "false", "aria-label": label,
            mousedown: (event) => event.preventDefault(), // the field keeps the focus
            click: () => pick(at),
          }, nodes)),
      );
      const more = found.more ? "There are more: keep typing to shorten the list." : "";
      note.textContent = options.length ? more : found.empty;
      say(options.length ? `${many(options.length, "suggestion")}${found.more ? " and more" : ""}` : found.empty);
    } catch (error) {
      if (mine !== request || error.name === "AbortError") return;
      options = [];
      list.replaceChildren();
      note.textContent = error instanceof Problem ? error.message : "The suggestions could not be read.";
      say(note.textContent);
    }
    active = -1;
    answered = query;
    list.hidden = options.length === 0;
    note.hidden = note.textContent === "";
    popup.hidden = false;
    input.setAttribute("aria-expanded", "true");
    input.removeAttribute("aria-activedescendant");
    if (wanted) enter();
  };

  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(open, PAUSE);
  };

  const enter = () => {
    wanted = false;
    if (active >= 0) return pick(active);
    const text = input.value.trim();
    if (!text) return close();
    if (typed) {
      close();
      input.value = "";
      return typed(text);
    }
    if (answered === text) return options.length ? pick(0) : undefined;
    wanted = true; // as soon as they are there
    return open();
  };

  input.addEventListener("input", later);
  input.addEventListener("click", () => popup.hidden && open());
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const size = options.length;
    const shown = !popup.hidden;
    const keys = {
      ArrowDown: () => (shown ? size && highlight((active + 1) % size) : open()),
      ArrowUp: () => (shown ? size && highlight((active <= 0 ? size : active) - 1) : open()),
      Home: () => highlight(0),
      End: () => highlight(size - 1),
      Enter: enter,
      Escape: () => (shown ? close() : (input.value = "")),
    };
    // Home and End move in the text, unless a suggestion is highlighted.
    if (!keys[event.key] || (["Home", "End"].includes(event.key) && active < 0)) return;
    event.preventDefault();
    event.stopPropagation();
    keys[event.key]();
  });
}
