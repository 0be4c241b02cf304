/* What is known of a product beside its name: picture, price, category and link. Pictures from allowed hosts only. */

import { api } from "./api.js";
import { el } from "./dom.js";

let hosts = [];

/** Ask the model for its dates and for the hosts of pictures; resolves to its description, or to null. */
export const described = api("/model").then(
  (answer) => {
    hosts = answer.image_hosts ?? [];
    return answer;
  },
  () => null, // the views say what is wrong
);

/** The address where it is one of http or https, else null: whatever a table holds, no link runs a script. */
function webAddress(text) {
  try {
    const address = new URL(text);
    return ["http:", "https:"].includes(address.protocol) ? address : null;
  } catch {
    return null;
  }
}

/** Whether the page's content policy lets a picture in; it would log an error for others. */
function allowed(address) {
  if (location.protocol === "https:" && address.protocol !== "https:") return false;
  return hosts.some((host) => {
    const [name, port] = host.split(":");
    if ((port ?? "") !== address.port) return false;
    return name.startsWith("*.") ? address.hostname.endsWith(name.slice(1)) : address.hostname === name;
  });
}

export function picture(item) {
  const address = item.image && webAddress(item.image);
  if (!address || !allowed(address)) return null;
  return el("img", {
    class: "picture", src: address.href, alt: "", width: 64, height: 64, loading: "lazy", referrerpolicy: "no-referrer",
    error: (event) => event.target.remove(),
  });
}

export const price = (value) =>
  Number(value).toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

/** Price, category and link as parts of a line. */
export function facts(item) {
  const link = item.link && webAddress(item.link);
  return [
    item.price === undefined ? null : el("span", { class: "price" }, price(item.price)),
    item.category ? el("span", {}, item.category) : null,
    item.available === false ? el("span", { class: "gone" }, "not available") : null,
    link ? el("a", { href: link.href, target: "_blank", rel: "noopener noreferrer" }, "in the shop") : null,
  ];
}
