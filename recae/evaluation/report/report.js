"use strict";
// What only a script can do: the figures under the pointer in a chart, the place in the page, details opened in print.
(() => {
  const make = (name, text, className) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  // The figures come from the table below the chart, so that they are in the file once.
  for (const stage of document.querySelectorAll("[data-chart]")) {
    const table = document.querySelector(`#${stage.dataset.chart} table`);
    const chart = stage.querySelector("svg");
    const places = [...chart.querySelectorAll(".tick.x")].map((tick) => Number(tick.dataset.x));
    const rows = [...table.tBodies[0].rows];
    const cursor = make("div", undefined, "cursor");
    const tip = make("div", undefined, "tip");
    const said = make("p", undefined, "unseen");
    said.setAttribute("role", "status");
    cursor.hidden = tip.hidden = true;
    stage.append(cursor, tip, said);
    let shown = -1;

    const show = (n, aloud) => {
      shown = n;
      cursor.hidden = tip.hidden = n < 0;
      if (n < 0) return;
      const length = table.tHead.rows[0].cells[n + 1].textContent;
      const title = `${length} item${length === "1" ? "" : "s"} shown`;
      const lines = rows
        .map((row) => ({ row, mean: row.cells[n + 1].querySelector("b").textContent }))
        .sort((a, b) => (Number(b.mean) || 0) - (Number(a.mean) || 0))
        .map(({ row, mean }) => {
          const line = make("li");
          line.append(row.querySelector(".swatch").cloneNode(true), make("span", row.querySelector(".name").textContent), make("b", mean));
          return line;
        });
      const list = make("ul");
      list.append(...lines);
      tip.replaceChildren(make("p", title), list);
      const box = chart.getBoundingClientRect();
      const outer = stage.getBoundingClientRect();
      const x = box.left - outer.left + places[n] * box.width;
      cursor.style.left = `${x}px`;
      const left = x - 14 - tip.offsetWidth; // to the left where it fits: recall rises, so there is room above the lines
      tip.style.left = `${left >= 0 ? left : Math.max(0, Math.min(x + 14, outer.width - tip.offsetWidth))}px`;
      if (aloud) said.textContent = `${title}: ${lines.map((line) => `${line.children[1].textContent} ${line.children[2].textContent}`).join(", ")}`;
    };

    const point = (event) => {
      const box = chart.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width;
      const far = places.map((place) => Math.abs(place - x));
      const nearest = far.indexOf(Math.min(...far));
      if (nearest !== shown) show(nearest, false);
    };
    stage.addEventListener("pointermove", point);
    stage.addEventListener("pointerdown", point);
    stage.addEventListener("pointerleave", () => show(-1, false));
    stage.addEventListener("blur", () => show(-1, false));
    stage.addEventListener("keydown", (event) => {
      const last = places.length - 1;
      const next = { ArrowLeft: Math.max(shown - 1, 0), ArrowRight: Math.min(shown + 1, last), Home: 0, End: last, Escape: -1 }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      show(next, true);
    });
    stage.tabIndex = 0;
    stage.setAttribute("role", "group");
    stage.setAttribute("aria-label", "Drawing; the arrow keys read its figures");
  }

  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        for (const link of links.values()) link.removeAttribute("aria-current");
        links.get(entry.target.id)?.setAttribute("aria-current", "true");
      }
    },
    { rootMargin: "-10% 0px -80% 0px" },
  );
  for (const id of links.keys()) seen.observe(document.getElementById(id));

  let closed = [];
  window.addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const part of closed) part.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const part of closed) part.open = false;
  });
})();
