// The map of `recae map` and of the served page: recaeMap(container, data, options) draws it into an element.
//
// data     {item_id: [text], name: [text or null] or absent, owners: [number] or absent, x: [number], y: [number],
//          category: absent, or [text or null], or with categories: [text] the row of each in that list, -1 for none}
// options  {kind: "items" or "users", onSelect: function (index), told what a person selects; -1 when that ends}
// returns  {select(index or -1), search(text), labels(), destroy()}; onSelect is not told of select's doing; labels
//          are what is written on the picture, with rectangles [left, top, right, bottom] in its pixels
//
// Points are blended into one buffer of pixels, so that a frame costs the same few milliseconds on every machine;
// a grid of cells finds the point under the pointer. All text enters the page as text, never as markup.
"use strict";
(() => {
  const COLOURS = 12; // categories with a colour of their own; the rest is "other"
  const MARGIN = 24; // pixels around the picture into which a cut-off disc may be drawn
  const FITS = 0.85, DEEPEST = 400; // bounds of the zoom; 1 shows everything
  const LISTED = 8; // search results spelled out
  const WORDS = {
    items: { one: "product", many: "products", owners: (n) => `owned by ${count(n, "customer")}` },
    users: { one: "customer", many: "customers", owners: (n) => `owns ${count(n, "product")}` },
  };
  const ASIDE = 4, OVER = 7; // steps that a category's name may be moved to either side, and up or down
  const HIDING = 160; // pixels that a name would rather be moved than cover points throughout
  let maps = 0; // for ids that are unique on the page

  const number = new Intl.NumberFormat("en");
  const count = (n, noun) => `${number.format(n)} ${noun}${n === 1 ? "" : "s"}`;
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const cut = (text, length) => (text.length > length ? `${text.slice(0, length - 1).trimEnd()}…` : text);

  function element(tag, name, attributes = {}, ...children) {
    const made = document.createElement(tag);
    if (name) made.className = name;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function recaeMap(container, data, options = {}) {
    const words = WORDS[options.kind] ?? WORDS.items;
    const points = readPoints(data);
    const { n } = points;
    const id = `recae-map-${++maps}`;
    const still = matchMedia("(prefers-reduced-motion: reduce)");
    const scheme = matchMedia("(prefers-color-scheme: dark)");

    // ---- what the map consists of
    const points_ = element("canvas", "recae-map-points", { "aria-hidden": "true" });
    const over = element("canvas", "recae-map-over", {
      tabindex: "0", role: "application", "aria-label": `Map of ${count(n, words.one)}`, "aria-describedby": `${id}-help`,
    });
    const help = element("p", "recae-map-hidden", { id: `${id}-help` },
      `Arrow keys go to the next ${words.one} in that direction, with Shift they move the map; plus and minus zoom, ` +
      "0 shows everything, Escape ends the selection. The search field finds by name or id.");
    const tip = element("div", "recae-map-tip", { "aria-hidden": "true" });
    const card = element("section", "recae-map-card", { "aria-label": `Selected ${words.one}` });
    const live = element("p", "recae-map-hidden", { role: "status" });
    const input = element("input", "", {
      type: "search", role: "combobox", placeholder: "Name or id", autocomplete: "off", spellcheck: "false",
      "aria-label": `Search ${words.many} by name or id`, "aria-controls": `${id}-found`, "aria-expanded": "false",
    });
    const found = element("ul", "recae-map-found", { id: `${id}-found`, role: "listbox", "aria-label": "Found" });
    const counter = element("span", "recae-map-count", { "aria-live": "polite" });
    const button = (text, label, act) => {
      const made = element("button", "", { type: "button", "aria-label": label, title: label }, text);
      made.addEventListener("click", act);
      return made;
    };
    const zooms = element("div", "recae-map-zooms", { role: "group", "aria-label": "Zoom" },
      button("+", "Zoom in", () => zoomTo(view.zoom * 1.8)), button("−", "Zoom out", () => zoomTo(view.zoom / 1.8)),
      button("⤢", "Show everything", () => showAll()));
    const stage = element("div", "recae-map-stage", {}, points_, over, zooms, tip, card);
    const legend = element("div", "recae-map-legend", { role: "group", "aria-label": "Categories" });
    const search = element("div", "recae-map-search", { role: "search" }, input, counter, found);
    const root = element("div", "recae-map", {}, element("div", "recae-map-grid", {}, search, stage, legend), help, live);
    container.replaceChildren(root);
    card.hidden = tip.hidden = found.hidden = true;

    // ---- state
    const view = { x: 0, y: 0, zoom: 1 }; // the middle of the picture in the points' units, and the zoom
    let width = 1, height = 1, ratio = 1, fit = 1; // fit: pixels a unit at zoom 1
    let hovered = -1, selected = -1, alone = -1, active = -1;
    let matches = null; // Uint8Array (n,) while something is searched for
    let best = []; // the rows of the results spelled out
    let buttons = [0, 0, 0, 0]; // the rectangle of those that zoom
    let labels = []; // those drawn: their text, font, rectangle and category
    const off = new Uint8Array(points.slots.length); // categories that are switched off
    let theme, image, pixels, stride, pending = 0, flight = 0;
    const sprites = new Map(), widths = new Map();
    const context = points_.getContext("2d", { alpha: false }), marks = over.getContext("2d");

    const scale = () => fit * view.zoom;
    const screenX = (i) => (points.x[i] - view.x) * scale() + width / 2;
    const screenY = (i) => height / 2 - (points.y[i] - view.y) * scale();
    const visible = (i) => !off[points.slot[i]];
    const title = (i) => points.name[i] || points.id[i];
    const dotSize = () => clamp(13 / Math.pow(n, 0.21) * Math.pow(view.zoom, 0.3), 1.1, 9) * (width < 600 ? 0.8 : 1);

    function readTheme() {
      const style = getComputedStyle(root);
      const colour = (name) => style.getPropertyValue(`--recae-map-${name}`).trim();
      const slots = points.slots.map((slot, s) => colour(slot.other ? "other" : points.slots.length > 1 ? s : "dot"));
      theme = {
        background: colour("background"), ink: colour("ink"), soft: colour("soft"), mark: colour("mark"), slots,
        packed: slots.map(packed), packedBackground: packed(colour("background")),
        font: style.fontFamily || "sans-serif",
      };
      widths.clear();
      for (const swatch of root.querySelectorAll("[data-slot]")) swatch.style.background = slots[swatch.dataset.slot];
    }

    function packed(colour) { // "#rrggbb" as one little-endian pixel
      const rgb = parseInt(colour.slice(1), 16);
      return (0xff000000 | ((rgb & 255) << 16) | (rgb & 0xff00) | (rgb >> 16)) >>> 0;
    }

    function resize() {
      const box = stage.getBoundingClientRect();
      if (!box.width || !box.height) return; // not in the page, or not shown: the observer tells when it is
      ({ width, height } = box);
      ratio = Math.min(devicePixelRatio || 1, 2);
      for (const canvas of [points_, over]) {
        canvas.width = Math.round(width * ratio);
        canvas.height = Math.round(height * ratio);
      }
      buttons = [zooms.offsetLeft - 4, 0, width, zooms.offsetTop + zooms.offsetHeight + 4];
      const space = Math.min(width, height) < 500 ? 22 : 44;
      // No direction of the layout means anything, so on a phone held upright a broad picture is turned.
      const gain = (a, b) => Math.min((width - 2 * space) / a, (height - 2 * space) / b);
      if (gain(points.spanY, points.spanX) > 1.1 * gain(points.spanX, points.spanY)) {
        points.turn();
        [view.x, view.y] = [view.y, -view.x];
      }
      fit = Math.max(gain(points.spanX, points.spanY), 1);
      stride = points_.width + 2 * MARGIN;
      image = new ImageData(stride, points_.height + 2 * MARGIN);
      pixels = new Uint32Array(image.data.buffer);
      draw();
    }

    // ---- drawing
    function refresh() {
      if (!pending) pending = requestAnimationFrame(() => { pending = 0; draw(); });
    }

    function disc(radius) { // the pixels of a disc around its centre, and how much of each it covers, of 256
      const key = Math.round(radius * 4);
      const known = sprites.get(key);
      if (known?.stride === stride) return known;
      const r = key / 4, reach = Math.ceil(r), offsets = [], covers = [];
      for (let y = -reach; y <= reach; y++) {
        for (let x = -reach; x <= reach; x++) {
          const cover = clamp(r + 0.5 - Math.hypot(x, y), 0, 1);
          if (cover > 0.02) { offsets.push(y * stride + x); covers.push(Math.round(cover * 256)); }
        }
      }
      const made = { stride, offsets: Int32Array.from(offsets), covers: Int32Array.from(covers) };
      sprites.set(key, made);
      return made;
    }

    function blend(rows, wanted, opacity) { // draws the points for which wanted(i) holds
      const perUnit = scale() * ratio, radius = dotSize() * ratio;
      const left = (width * ratio) / 2 + MARGIN - view.x * perUnit, top = (height * ratio) / 2 + MARGIN + view.y * perUnit;
      const right = stride - MARGIN / 2, bottom = image.height - MARGIN / 2, edge = MARGIN / 2;
      const { x, y, slot, size } = points;
      const discs = points.sizes.map((factor) => disc(Math.min(radius * factor, MARGIN / 2 - 1)));
      const target = pixels;
      for (let at = 0; at < rows.length; at++) {
        const i = rows[at];
        const px = Math.round(left + x[i] * perUnit), py = Math.round(top - y[i] * perUnit);
        if (px < edge || px >= right || py < edge || py >= bottom || !wanted(i)) continue;
        const { offsets, covers } = discs[size[i]];
        const colour = theme.packed[slot[i]], redBlue = colour & 0xff00ff, green = colour & 0xff00;
        const centre = py * stride + px;
        for (let k = 0; k < offsets.length; k++) {
          const where = centre + offsets[k], cover = (covers[k] * opacity) | 0;
          if (cover >= 256) { target[where] = colour; continue; }
          const old = target[where], oldRB = old & 0xff00ff, oldG = old & 0xff00;
          // two channels in one multiplication: what overflows is beyond the bits that are kept
          target[where] = 0xff000000 |
            ((oldRB + ((Math.imul(redBlue - oldRB, cover)) >> 8)) & 0xff00ff) |
            ((oldG + (((green - oldG) * cover) >> 8)) & 0xff00);
        }
      }
    }

    function draw() {
      if (!pixels) return;
      pixels.fill(theme.packedBackground);
      const focused = matches || alone >= 0;
      const inFocus = (i) => visible(i) && (!matches || matches[i]) && (alone < 0 || points.slot[i] === alone);
      if (focused) blend(points.order, (i) => visible(i) && !inFocus(i), 0.13);
      // where points lie in heaps, transparency shows how many they are
      blend(points.order, focused ? inFocus : visible, focused ? 1 : n > 10000 ? 0.65 : 0.86);
      context.putImageData(image, -MARGIN, -MARGIN);
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      drawLabels(inFocus);
      drawMarks();
    }

    // Every label gets a rectangle that meets none before it, or is left out: the categories first, then products.
    function drawLabels(wanted) {
      const taken = [buttons];
      labels = [];
      const measure = (text, font) => {
        const key = font + text;
        context.font = font;
        if (!widths.has(key)) widths.set(key, context.measureText(text).width);
        return widths.get(key);
      };
      const free = (box) => box[0] >= 2 && box[2] <= width - 2 && box[1] >= 2 && box[3] <= height - 2 &&
        !taken.some((b) => box[0] < b[2] && b[0] < box[2] && box[1] < b[3] && b[1] < box[3]);
      const rectangle = (label, left, y) => [left, y - label.tall / 2, left + label.wide, y + label.tall / 2];
      const put = (label, left, y) => {
        const box = rectangle(label, left, y);
        if (!free(box)) return false;
        taken.push(box);
        labels.push({ ...label, box, y });
        return true;
      };
      const named = points.slots.length > 1;
      if (named && !matches && view.zoom < 6) {
        const small = width < 600, font = `600 ${small ? 12 : 14}px ${theme.font}`, tall = small ? 18 : 21;
        points.slots.forEach((slot, s) => {
          if (slot.other || off[s] || (alone >= 0 && alone !== s)) return;
          const x = (slot.x - view.x) * scale() + width / 2, y = height / 2 - (slot.y - view.y) * scale();
          if (x < 0 || x > width || y < 0 || y > height) return;
          const text = cut(slot.name, small ? 24 : 34), wide = measure(text, font) + 24;
          const label = { text, font, tall, wide, slot: s, x0: x, y0: y };
          const far = Math.min(width, height) / 4; // a name farther from its products would say little
          const dots = Math.PI * dotSize() ** 2 / (wide * tall);
          let winner = null, least = Infinity;
          for (const [across, down] of spiral(wide / 3, tall, far)) {
            const left = x + across - wide / 2, apart = Math.hypot(across, down);
            if (apart >= least) break;
            const box = rectangle(label, left, y + down);
            if (!free(box)) continue;
            const [west, east] = [box[0], box[2]].map((at) => (at - width / 2) / scale() + view.x);
            const [south, north] = [box[3], box[1]].map((at) => (height / 2 - at) / scale() + view.y);
            const cost = apart + HIDING * Math.min(points.crowd(west, south, east, north) * dots, 1);
            if (cost < least) { least = cost; winner = [left, y + down]; }
          }
          if (winner) put(label, ...winner);
        });
      }
      if (!named || matches || view.zoom >= 2.2) {
        const room = (width * height) / (matches ? 12000 : 38000 / Math.sqrt(view.zoom));
        const font = `12px ${theme.font}`, ringed = new Set([selected, ...best]);
        let looked = 0, written = 0;
        for (const i of points.order) {
          if (!wanted(i)) continue;
          const x = screenX(i), y = screenY(i);
          if (x < 0 || x > width || y < 0 || y > height) continue;
          if (++looked > 500 || written > room) break;
          const gap = dotSize() * points.sizes[points.size[i]] + (ringed.has(i) ? 9 : 4);
          const text = cut(title(i), 28), label = { text, font, tall: 18, wide: measure(text, font) + 6, slot: -1 };
          if (put(label, x + gap - 3, y) || put(label, x - gap + 3 - label.wide, y)) written++;
        }
      }
      writeLabels();
    }

    function writeLabels() {
      context.textBaseline = "middle";
      context.lineJoin = "round";
      for (const { box, y, slot, x0, y0 } of labels) { // from a category's name that was moved aside to its products
        const x = (box[0] + box[2]) / 2;
        if (slot < 0 || Math.hypot(x - x0, y - y0) < 16) continue;
        context.beginPath();
        context.moveTo(x, y);
        context.lineTo(x0, y0);
        for (const [line, colour] of [[4, theme.background], [1.5, theme.slots[slot]]]) {
          context.lineWidth = line;
          context.strokeStyle = colour;
          context.stroke();
        }
      }
      for (const { text, font, box, y, slot } of labels) {
        context.font = font;
        if (slot >= 0) { // on a ground of its own, with the colour of the legend
          context.globalAlpha = 0.85;
          context.fillStyle = theme.background;
          context.beginPath();
          context.roundRect(box[0], box[1], box[2] - box[0], box[3] - box[1], 5);
          context.fill();
          context.globalAlpha = 1;
          context.fillStyle = theme.slots[slot];
          context.beginPath();
          context.arc(box[0] + 10, y, 5, 0, 2 * Math.PI);
          context.fill();
        }
        const left = box[0] + (slot < 0 ? 3 : 19);
        context.lineWidth = 3.5;
        context.strokeStyle = theme.background;
        context.strokeText(text, left, y);
        context.fillStyle = slot < 0 ? theme.soft : theme.ink;
        context.fillText(text, left, y);
      }
    }

    function drawMarks() {
      marks.setTransform(ratio, 0, 0, ratio, 0, 0);
      marks.clearRect(0, 0, width, height);
      const ring = (i, grow, line) => {
        const x = screenX(i), y = screenY(i);
        marks.beginPath();
        marks.arc(x, y, dotSize() * points.sizes[points.size[i]] + grow, 0, 2 * Math.PI);
        marks.lineWidth = line + 2.5;
        marks.strokeStyle = theme.background;
        marks.stroke();
        marks.lineWidth = line;
        marks.strokeStyle = theme.mark;
        marks.stroke();
      };
      if (matches) best.forEach((i) => ring(i, 2.5, 1.5));
      if (hovered >= 0) ring(hovered, 3, 2);
      if (selected >= 0) ring(selected, 4, 3);
    }

    // ---- moving
    function bound() {
      view.zoom = clamp(view.zoom, FITS, DEEPEST);
      view.x = clamp(view.x, -points.spanX / 2, points.spanX / 2);
      view.y = clamp(view.y, -points.spanY / 2, points.spanY / 2);
    }

    function zoomAt(factor, x, y) { // keeps the place under (x, y) where it is
      stopFlight();
      const before = scale();
      view.zoom = clamp(view.zoom * factor, FITS, DEEPEST);
      view.x += (x - width / 2) * (1 / before - 1 / scale());
      view.y -= (y - height / 2) * (1 / before - 1 / scale());
      bound();
      hideTip();
      refresh();
    }

    function moveBy(x, y) {
      stopFlight();
      view.x -= x / scale();
      view.y += y / scale();
      bound();
      refresh();
    }

    function fly(x, y, zoom) {
      stopFlight();
      hideTip();
      const from = { ...view }, to = { x, y, zoom: clamp(zoom, FITS, DEEPEST) }, begin = performance.now();
      const step = (now) => {
        const t = still.matches ? 1 : clamp((now - begin) / 280, 0, 1), eased = 1 - (1 - t) ** 3;
        view.zoom = from.zoom * (to.zoom / from.zoom) ** eased;
        view.x = from.x + (to.x - from.x) * eased;
        view.y = from.y + (to.y - from.y) * eased;
        if (t === 1) Object.assign(view, to); // without what rounding leaves
        bound();
        flight = t < 1 ? requestAnimationFrame(step) : 0;
        draw();
      };
      flight = requestAnimationFrame(step);
    }

    function stopFlight() {
      cancelAnimationFrame(flight);
      flight = 0;
    }

    const zoomTo = (zoom) => fly(view.x, view.y, zoom);
    const showAll = () => fly(0, 0, 1);

    // ---- pointing
    function nearest(px, py, reach) {
      const radius = reach / scale();
      return points.near((px - width / 2) / scale() + view.x, (height / 2 - py) / scale() + view.y, radius, visible);
    }

    function facts(i) {
      const lines = [element("strong", "", { dir: "auto" }, title(i))];
      if (points.name[i]) lines.push(element("span", "recae-map-id", { dir: "auto" }, points.id[i]));
      if (points.owners) lines.push(element("span", "", {}, words.owners(points.owners[i])));
      const category = points.category(i);
      if (category) {
        const swatch = element("i", "recae-map-swatch", { "data-slot": points.slot[i] });
        swatch.style.background = theme.slots[points.slot[i]];
        lines.push(element("span", "", { dir: "auto" }, swatch, category));
      }
      return lines;
    }

    function hover(i) {
      if (i === hovered) return;
      hovered = i;
      over.style.cursor = i < 0 ? "" : "pointer";
      tip.hidden = i < 0 || i === selected;
      if (!tip.hidden) {
        tip.replaceChildren(...facts(i));
        const box = tip.getBoundingClientRect(), x = screenX(i), y = screenY(i);
        tip.style.left = `${clamp(x + 14 + box.width > width - 4 ? x - 14 - box.width : x + 14, 4, Math.max(width - box.width - 4, 4))}px`;
        tip.style.top = `${clamp(y - box.height / 2, 4, Math.max(height - box.height - 4, 4))}px`;
      }
      drawMarks();
    }

    function hideTip() {
      hovered = -1;
      tip.hidden = true;
    }

    function select(i, tell = true) {
      const before = selected;
      selected = i;
      hideTip();
      card.hidden = selected < 0;
      live.textContent = "";
      if (selected >= 0) {
        const close = button("×", "End the selection", () => { select(-1); over.focus(); });
        close.className = "recae-map-close";
        const list = element("ul", "recae-map-nearby");
        for (const j of points.closest(i, 5, visible)) {
          const go = button(cut(title(j), 60), `Go to ${title(j)}`, () => goTo(j));
          go.dir = "auto";
          list.append(element("li", "", {}, go));
        }
        card.replaceChildren(close, ...facts(i), element("span", "recae-map-caption", {}, "Closest on the map"), list);
        live.textContent = facts(i).map((line) => line.textContent).join(", ");
      }
      if (tell && selected !== before) options.onSelect?.(selected);
      refresh();
    }

    function goTo(i, tell = true) {
      if (off[points.slot[i]]) toggle(points.slot[i]);
      select(i, tell);
      const zoom = Math.max(view.zoom, closeUp());
      // on a narrow screen the card covers the lower part of the picture
      const covered = card.offsetWidth > width * 0.7 ? card.offsetHeight / 2 / (fit * zoom) : 0;
      fly(points.x[i], points.y[i] - covered, zoom);
    }

    // A zoom at which a disc of the picture holds some dozens of points.
    const closeUp = () => clamp(Math.sqrt(n / 60), 1.5, 40);

    const fingers = new Map();
    let travelled = 0;
    const place = (event) => {
      const box = over.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    over.addEventListener("pointerdown", (event) => {
      if (event.button > 0) return;
      over.setPointerCapture(event.pointerId);
      if (fingers.size === 0) travelled = 0;
      fingers.set(event.pointerId, place(event));
      found.hidden = true;
    });
    over.addEventListener("pointermove", (event) => {
      const [x, y] = place(event), before = fingers.get(event.pointerId);
      if (!before) {
        if (event.pointerType !== "touch") hover(nearest(x, y, 12));
        return;
      }
      travelled += Math.hypot(x - before[0], y - before[1]);
      if (travelled < 5 && fingers.size === 1) return; // a click whose hand trembles
      if (fingers.size === 2) {
        const other = [...fingers].find(([key]) => key !== event.pointerId)[1];
        const apart = Math.hypot(x - other[0], y - other[1]) / Math.max(Math.hypot(before[0] - other[0], before[1] - other[1]), 1);
        zoomAt(apart, (x + other[0]) / 2, (y + other[1]) / 2);
        moveBy((x - before[0]) / 2, (y - before[1]) / 2);
      } else if (fingers.size === 1) {
        hideTip();
        over.style.cursor = "grabbing";
        moveBy(x - before[0], y - before[1]);
      }
      fingers.set(event.pointerId, [x, y]);
    });
    const lift = (event) => {
      const tapped = fingers.delete(event.pointerId) && event.type === "pointerup" && travelled < 5;
      over.style.cursor = "";
      if (tapped) select(nearest(...place(event), event.pointerType === "touch" ? 22 : 12));
    };
    over.addEventListener("pointerup", lift);
    over.addEventListener("pointercancel", lift);
    over.addEventListener("pointerleave", () => hover(-1));
    over.addEventListener("dblclick", (event) => zoomAt(2, ...place(event)));
    over.addEventListener("wheel", (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 100 : 1;
      // a pinch on a touchpad arrives as a wheel with Ctrl, in much smaller steps
      zoomAt(Math.exp(-clamp(event.deltaY * lines, -240, 240) * (event.ctrlKey ? 0.012 : 0.0022)), ...place(event));
    }, { passive: false });

    // ---- keys
    const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    over.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const arrow = ARROWS[event.key];
      if (arrow && event.shiftKey) moveBy(-arrow[0] * 80, arrow[1] * 80);
      else if (arrow) {
        const i = points.towards(selected >= 0 ? selected : -1, view, arrow, visible);
        if (i >= 0) {
          select(i);
          const x = screenX(i), y = screenY(i), edge = 60;
          if (x < edge || y < edge || x > width - edge || y > height - edge) fly(points.x[i], points.y[i], view.zoom);
        }
      } else if (event.key === "+" || event.key === "=") zoomTo(view.zoom * 1.8);
      else if (event.key === "-") zoomTo(view.zoom / 1.8);
      else if (event.key === "0") showAll();
      else if (event.key === "Escape") select(-1);
      else return;
      event.preventDefault();
    });

    // ---- searching
    function searchFor(text) {
      const wanted = plain(text).split(/\s+/).filter(Boolean);
      active = -1;
      matches = null;
      best = [];
      let total = 0;
      if (wanted.length) {
        matches = new Uint8Array(n);
        const texts = points.texts(), rows = [];
        for (const i of points.order) {
          if (!wanted.every((word) => texts[i].includes(word))) continue;
          matches[i] = 1;
          total++;
          // an exact id comes first, whatever its owners
          if (points.id[i] === text.trim()) rows.unshift(i);
          else if (rows.length < LISTED) rows.push(i);
        }
        best = rows.slice(0, LISTED);
      }
      counter.textContent = wanted.length ? (total ? `${number.format(total)} found` : "nothing found") : "";
      found.replaceChildren(...best.map((i, at) => {
        const line = element("li", "", { role: "option", id: `${id}-found-${at}`, "aria-selected": "false" },
          element("span", "", { dir: "auto" }, title(i)),
          element("small", "", { dir: "auto" }, points.name[i] ? points.id[i] : ""));
        line.addEventListener("pointerdown", (event) => event.preventDefault()); // the field keeps the focus
        line.addEventListener("click", () => choose(at));
        return line;
      }));
      listOpen(best.length > 0);
      refresh();
    }

    function listOpen(open) {
      found.hidden = !open;
      input.setAttribute("aria-expanded", String(open));
      if (!open) input.removeAttribute("aria-activedescendant");
    }

    function choose(at) {
      listOpen(false);
      goTo(best[at]);
    }

    input.addEventListener("input", () => searchFor(input.value));
    input.addEventListener("focus", () => listOpen(best.length > 0));
    input.addEventListener("blur", () => listOpen(false));
    input.addEventListener("keydown", (event) => {
      if ((event.key === "ArrowDown" || event.key === "ArrowUp") && best.length) {
        active = (active + (event.key === "ArrowDown" ? 1 : active < 0 ? 0 : -1) + best.length) % best.length;
        listOpen(true);
        [...found.children].forEach((line, at) => line.setAttribute("aria-selected", String(at === active)));
        input.setAttribute("aria-activedescendant", `${id}-found-${active}`);
      } else if (event.key === "Enter" && best.length) choose(Math.max(active, 0));
      else if (event.key === "Escape") {
        input.value = "";
        searchFor("");
      } else return;
      event.preventDefault();
    });

    // ---- the legend
    const everything = element("button", "recae-map-all", { type: "button" }, "Show all");
    everything.addEventListener("click", () => { off.fill(0); legendChanged(); });
    function toggle(slot) {
      off[slot] = 1 - off[slot];
      legendChanged();
    }
    function legendChanged() {
      legend.querySelectorAll("button[aria-pressed]").forEach((made, s) => made.setAttribute("aria-pressed", String(!off[s])));
      everything.hidden = !off.includes(1);
      if (selected >= 0 && !visible(selected)) select(-1);
      hideTip();
      refresh();
    }
    everything.hidden = true;
    if (points.slots.length > 1) {
      points.slots.forEach((slot, s) => {
        const made = element("button", "", { type: "button", "aria-pressed": "true", title: `Show or hide: ${slot.name}` },
          element("i", "recae-map-swatch", { "data-slot": s }), element("span", "", { dir: "auto" }, slot.name),
          element("small", "", {}, number.format(slot.count)));
        made.addEventListener("click", () => { alone = -1; toggle(s); });
        const spotlight = (on) => () => { alone = on && !off[s] ? s : -1; refresh(); };
        made.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && spotlight(true)());
        made.addEventListener("pointerleave", spotlight(false));
        legend.append(made);
      });
      legend.append(everything);
    } else legend.hidden = true;

    // ---- life
    const recolour = () => { readTheme(); draw(); };
    const observer = new ResizeObserver(resize);
    readTheme();
    resize();
    observer.observe(stage);
    scheme.addEventListener("change", recolour);
    return {
      select: (i) => (i >= 0 && i < n ? goTo(i, false) : select(-1, false)),
      labels: () => labels.map(({ text, box, slot }) => ({ text, box, category: slot >= 0 })),
      search: (text) => { input.value = text; searchFor(text); listOpen(false); },
      destroy: () => {
        observer.disconnect();
        scheme.removeEventListener("change", recolour);
        stopFlight();
        cancelAnimationFrame(pending);
        root.remove();
      },
    };
  }

  // The points as typed arrays, scaled so that the longer side of their box is 1 and its middle is the origin.
  function readPoints(data) {
    const n = data.item_id.length;
    const range = (values) => {
      let low = Infinity, high = -Infinity;
      for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
      return n ? [low, high] : [0, 0];
    };
    const [left, right] = range(data.x), [bottom, top] = range(data.y);
    const span = Math.max(right - left, top - bottom) || 1;
    const x = Float32Array.from(data.x, (value) => (value - (left + right) / 2) / span);
    const y = Float32Array.from(data.y, (value) => (value - (bottom + top) / 2) / span);
    const owners = data.owners ?? null;
    const order = Uint32Array.from({ length: n }, (_, i) => i);
    if (owners) order.sort((a, b) => owners[b] - owners[a] || a - b);
    // Five sizes by the logarithm of the owners, so that one bestseller does not make all others dots.
    const sizes = [0.72, 0.88, 1.05, 1.28, 1.6], size = new Uint8Array(n).fill(1);
    if (owners && n) {
      const low = Math.log1p(owners[order[n - 1]]), high = Math.log1p(owners[order[0]]);
      if (high > low) for (let i = 0; i < n; i++) size[i] = Math.min(4, Math.floor((5 * (Math.log1p(owners[i]) - low)) / (high - low)));
    }
    const { slots, slot, category } = readCategories(data, n);
    let grid = makeGrid(x, y), crowd = makeCrowd(x, y);
    for (const [s, one] of slots.entries()) if (slots.length > 1) placeName(one, s, x, y, slot);
    let texts = null;

    return {
      n, x, y, owners, order, size, sizes, slots, slot, category, id: data.item_id, name: data.name ?? new Array(n).fill(null),
      spanX: Math.max((right - left) / span, 0.05), spanY: Math.max((top - bottom) / span, 0.05),
      near: (...place) => grid(...place),
      crowd: (...box) => crowd(...box), // how many points a box of the map holds, about
      turn() { // a quarter, clockwise
        for (let i = 0; i < n; i++) [x[i], y[i]] = [y[i], -x[i]];
        for (const one of slots) [one.x, one.y] = [one.y, -one.x];
        [this.spanX, this.spanY] = [this.spanY, this.spanX];
        grid = makeGrid(x, y);
        crowd = makeCrowd(x, y);
      },
      texts: () => (texts ??= data.item_id.map((id, i) => plain(`${data.name?.[i] ?? ""}\n${id}`))),
      closest(i, k, wanted) { // the k points closest to point i
        const rows = [], apart = [];
        for (let j = 0; j < n; j++) {
          if (j === i || !wanted(j)) continue;
          const d = (x[j] - x[i]) ** 2 + (y[j] - y[i]) ** 2;
          if (rows.length === k && d >= apart[k - 1]) continue;
          let at = apart.findIndex((other) => d < other);
          if (at < 0) at = apart.length;
          rows.splice(at, 0, j);
          apart.splice(at, 0, d);
          rows.length = apart.length = Math.min(rows.length, k);
        }
        return rows;
      },
      towards(from, middle, [dx, dy], wanted) { // the next point in a direction; from -1, the one closest to the middle
        let winner = -1, least = Infinity;
        const x0 = from < 0 ? middle.x : x[from], y0 = from < 0 ? middle.y : y[from];
        for (let j = 0; j < n; j++) {
          if (j === from || !wanted(j)) continue;
          const along = (x[j] - x0) * dx + (y[j] - y0) * dy, aside = Math.abs((x[j] - x0) * dy) + Math.abs((y[j] - y0) * dx);
          if (from >= 0 && (along <= 0 || aside > along)) continue;
          const cost = from < 0 ? along ** 2 + aside ** 2 : along + 2 * aside;
          if (cost < least) { least = cost; winner = j; }
        }
        return winner;
      },
    };
  }

  function readCategories(data, n) {
    const all = { slots: [{ name: "", count: n }], slot: new Uint8Array(n), category: () => null };
    if (!data.category) return all;
    const text = (i) => (data.categories ? data.categories[data.category[i]] : data.category[i]) ?? null;
    const counts = new Map();
    for (let i = 0; i < n; i++) counts.set(text(i), (counts.get(text(i)) ?? 0) + 1);
    const unknown = counts.get(null) ?? 0;
    counts.delete(null);
    const ranked = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
    const own = ranked.length > COLOURS + 1 ? COLOURS : Math.min(ranked.length, COLOURS);
    const slots = ranked.slice(0, own).map(([name, count]) => ({ name, count }));
    const rest = ranked.slice(own).reduce((sum, [, count]) => sum + count, unknown);
    if (rest) slots.push({ name: ranked.length > own ? `Other (${count(ranked.length - own, "kind")})` : "Not known", count: rest, other: true });
    if (slots.length < 2) return { ...all, category: text };
    const rowOf = new Map(slots.map((one, s) => [one.other ? null : one.name, s]));
    const slot = Uint8Array.from({ length: n }, (_, i) => rowOf.get(text(i)) ?? slots.length - 1);
    return { slots, slot, category: text };
  }

  // Places around a point, the nearest first, in steps across and down.
  function spiral(across, down, far) {
    const places = [];
    for (let i = -ASIDE; i <= ASIDE; i++) for (let j = -OVER; j <= OVER; j++) places.push([i * across, j * down]);
    return places.filter((place) => Math.hypot(...place) <= far).sort((a, b) => Math.hypot(...a) - Math.hypot(...b)); // a stable sort: equals as they were made
  }

  // A category's name stands where most of its points lie together.
  function placeName(one, s, x, y, slot) {
    const cells = 14, counts = new Map();
    const cell = (i) => Math.floor((x[i] + 0.5) * cells) * 1000 + Math.floor((y[i] + 0.5) * cells);
    for (let i = 0; i < x.length; i++) if (slot[i] === s) counts.set(cell(i), (counts.get(cell(i)) ?? 0) + 1);
    let fullest = -1, most = 0;
    for (const key of counts.keys()) { // with the eight cells around it
      let sum = 0;
      for (const across of [-1000, 0, 1000]) for (const up of [-1, 0, 1]) sum += counts.get(key + across + up) ?? 0;
      if (sum > most) { most = sum; fullest = key; }
    }
    let sumX = 0, sumY = 0, m = 0;
    for (let i = 0; i < x.length; i++) {
      if (slot[i] !== s) continue;
      const key = cell(i);
      if (Math.abs(Math.floor(key / 1000) - Math.floor(fullest / 1000)) > 1 || Math.abs((key % 1000) - (fullest % 1000)) > 1) continue;
      sumX += x[i]; sumY += y[i]; m++;
    }
    one.x = sumX / (m || 1);
    one.y = sumY / (m || 1);
  }

  // How many points lie below and left of each corner of a lattice; it lies still when the map is moved, so that names do too.
  function makeCrowd(x, y) {
    const side = 160, row = side + 1, sums = new Uint32Array(row * row);
    const cell = (value) => clamp(Math.floor((value + 0.5) * side), 0, side - 1);
    for (let i = 0; i < x.length; i++) sums[(cell(y[i]) + 1) * row + cell(x[i]) + 1]++;
    for (let at = row; at < sums.length; at++) {
      if (at % row) sums[at] += sums[at - 1] + sums[at - row] - sums[at - row - 1];
    }
    const corner = (value) => clamp(Math.round((value + 0.5) * side), 0, side);
    return (west, south, east, north) => {
      const [w, s, e, n] = [west, south, east, north].map(corner);
      return sums[n * row + e] - sums[s * row + e] - sums[n * row + w] + sums[s * row + w];
    };
  }

  // Cells of a few points each, as one list of rows and where each cell's begin; returns the search for the nearest.
  function makeGrid(x, y) {
    const n = x.length, side = clamp(Math.ceil(Math.sqrt(n / 3)), 1, 512);
    const along = (value) => clamp(Math.floor((value + 0.5) * side), 0, side - 1);
    const begins = new Uint32Array(side * side + 1), rows = new Uint32Array(n);
    for (let i = 0; i < n; i++) begins[along(y[i]) * side + along(x[i]) + 1]++;
    for (let c = 0; c < side * side; c++) begins[c + 1] += begins[c];
    const next = begins.slice();
    for (let i = 0; i < n; i++) rows[next[along(y[i]) * side + along(x[i])]++] = i;
    return (px, py, radius, wanted) => {
      let winner = -1, least = radius * radius;
      for (let cy = along(py - radius); cy <= along(py + radius); cy++) {
        for (let cx = along(px - radius); cx <= along(px + radius); cx++) {
          for (let at = begins[cy * side + cx]; at < begins[cy * side + cx + 1]; at++) {
            const i = rows[at], d = (x[i] - px) ** 2 + (y[i] - py) ** 2;
            if (d <= least && wanted(i)) { least = d; winner = i; }
          }
        }
      }
      return winner;
    };
  }

  globalThis.recaeMap = recaeMap;
})();
