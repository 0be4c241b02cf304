/* The API: one function that asks, the errors it answers with, and the token where the server wants one. */

import { $ } from "./dom.js";

const KEPT = "recae-token";
let asking = null; // one question for the token at a time, however many requests wait for it

/** What went wrong, in the server's words (RFC 9457). `status` is 0 when there was no answer at all. */
export class Problem extends Error {
  constructor(status, body = {}, retryAfter = null) {
    super(body.detail || body.title || `The server answered ${status}.`);
    this.status = status;
    this.type = body.type || "";
    this.nearest = Array.isArray(body.nearest) ? body.nearest.map(String) : [];
    this.retryAfter = retryAfter;
  }
}

/** The JSON answer to GET `path`, or to POST where there is a `body`. Throws Problem, or AbortError. */
export async function api(path, { body, signal } = {}) {
  for (;;) {
    const token = sessionStorage.getItem(KEPT);
    const headers = { Accept: "application/json" };
    if (token) headers.Authorization = `Bearer ${token}`;
    if (body) headers["Content-Type"] = "application/json";
    const answer = await send(`.${path}`, {
      method: body ? "POST" : "GET",
      body: body && JSON.stringify(body),
      headers,
      signal,
      credentials: "omit",
      cache: "no-store",
    });
    if (answer.ok) return parse(answer, true);
    if (answer.status === 401 && (await askToken(token))) continue;
    const seconds = Number(answer.headers.get("Retry-After"));
    throw new Problem(answer.status, await parse(answer, false), seconds > 0 ? seconds : null);
  }
}

async function send(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: "The server does not answer." });
  }
}

async function parse(answer, needed) {
  try {
    return await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (!needed) return {};
    throw new Problem(0, { detail: "The server's answer broke off." });
  }
}

/** Ask for the token; false when the person does not give one. `refused` is the token that did not fit, if any. */
function askToken(refused) {
  if (sessionStorage.getItem(KEPT) !== refused) return Promise.resolve(true); // given while this one was under way
  asking ??= new Promise((answered) => {
    const [dialog, form, input] = [$("ask"), $("ask-form"), $("token")];
    if (refused) $("ask-why").textContent = "That token is not the server's. Please try again.";
    input.value = "";
    const finish = (token) => {
      asking = null;
      form.onsubmit = dialog.oncancel = $("ask-cancel").onclick = null;
      if (token) sessionStorage.setItem(KEPT, token);
      else sessionStorage.removeItem(KEPT);
      dialog.close();
      answered(Boolean(token));
    };
    form.onsubmit = (event) => {
      event.preventDefault();
      finish(input.value.trim());
    };
    dialog.oncancel = $("ask-cancel").onclick = () => finish("");
    dialog.showModal();
    input.focus();
  });
  return asking;
}

/* Names seen in any answer, so that an id from the address can be shown by its name. */
const names = new Map();

export function remember(items) {
  for (const item of items || []) if (item.name) names.set(item.item_id, item.name);
}

export const nameOf = (id) => names.get(id) || id;
export const hasName = (id) => names.has(id);
