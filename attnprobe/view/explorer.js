/**
 * The explorer: point at a picture and see where that place attends.
 *
 * One module without dependencies, for three places: a widget in notebooks (the default export, as
 * anywidget wants it), a page on disk (inlined, followed by `mountAll()`), and a server's page
 * (`mountExplorer`). The payload is described in explorer.py; it is made by `explorer_payload`.
 *
 *   mountExplorer(element, payload, options) -> { update(partialPayload), destroy() }
 *   options.regroup(threshold) -> Promise of labels (`labels_payload`): regroups live; without it
 *     the slider goes through the payload's `levels`, and is not there if there are none.
 *   mountAll(root) mounts what `explorer_html` left in a page, each when it comes into view.
 *
 * Text from the payload is only ever set as text.
 */

/** Stops of the colour map magma, at even distances: light grows evenly, for every eye. */
const MAGMA = [
  [0, 0, 4], [29, 17, 71], [81, 18, 124], [131, 38, 129], [183, 55, 121],
  [231, 82, 99], [252, 137, 97], [254, 196, 136], [252, 253, 191],
];
const SCALE = colourScale(MAGMA);

/** Pixels of the longer side of what is drawn. */
const CANVAS_SIDE = 768;

/** Names of segments listed; more than these nobody reads. */
const LISTED = 60;

const HINT =
  "Point at the picture, or move with the arrow keys. Click to pin. Drag, or hold Shift with the " +
  "arrow keys, for the mean over a region. Escape clears.";

let explorers = 0;

export function mountExplorer(element, payload, options = {}) {
  const explorer = new Explorer(element, payload, options);
  return {
    update: (partial) => explorer.show({ ...explorer.payload, ...partial }),
    destroy: () => explorer.destroy(),
  };
}

export function mountAll(root = document) {
  const seen = new IntersectionObserver(
    (entries) => {
      for (const { target } of entries.filter((entry) => entry.isIntersecting)) {
        seen.unobserve(target);
        mountExplorer(target, JSON.parse(target.querySelector("script").textContent));
      }
    },
    { rootMargin: "400px" },
  );
  for (const element of root.querySelectorAll("[data-explorer]")) {
    element.removeAttribute("data-explorer"); // so that a second call leaves it alone
    seen.observe(element);
  }
}

export default {
  render({ model, el }) {
    const waiting = new Map();
    let asked = 0;
    const regroup = (threshold) =>
      new Promise((resolve, reject) => {
        asked += 1;
        waiting.set(asked, { resolve, reject });
        model.send({ id: asked, threshold });
      });
    const answer = ({ id, labels, error }) => {
      const { resolve, reject } = waiting.get(id) ?? {};
      waiting.delete(id);
      if (labels) resolve?.(labels);
      else reject?.(new Error(error));
    };
    model.on("msg:custom", answer);
    const explorer = mountExplorer(el, model.get("payload"), model.get("live") ? { regroup } : {});
    return () => {
      model.off("msg:custom", answer);
      explorer.destroy();
    };
  },
};

// Data

async function unpack(text, ArrayType) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i += 1) bytes[i] = binary.charCodeAt(i);
  const inflated = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new ArrayType(await new Response(inflated).arrayBuffer());
}

/** The mean over planes and queries of the queries' maps. */
function meanMap(planes, queries, count) {
  const mean = new Float32Array(count);
  for (const { levels, scales } of planes) {
    for (const query of queries) {
      const unit = scales[query] / 255 / (planes.length * queries.length);
      const start = query * count;
      for (let key = 0; key < count; key += 1) mean[key] += unit * levels[start + key];
    }
  }
  return mean;
}

function peakOf(map) {
  let peak = 0;
  for (let key = 1; key < map.length; key += 1) if (map[key] > map[peak]) peak = key;
  return peak;
}

/** The 99th percentile: a token's look at itself would else leave all the rest dark. */
function brightest(map) {
  const sorted = Float32Array.from(map).sort();
  return sorted[Math.ceil(0.99 * map.length) - 1] || sorted.at(-1);
}

/** The cells of a grid under a selection {from, to} of places [y, x] from 0 to 1. */
function cellsUnder({ from, to }, [height, width]) {
  const [y0, y1] = [cell(from[0], height), cell(to[0], height)].sort((a, b) => a - b);
  const [x0, x1] = [cell(from[1], width), cell(to[1], width)].sort((a, b) => a - b);
  const queries = [];
  for (let y = y0; y <= y1; y += 1) {
    for (let x = x0; x <= x1; x += 1) queries.push(y * width + x);
  }
  return { y0, y1, x0, x1, queries };
}

function cell(place, count) {
  return Math.min(count - 1, Math.max(0, Math.floor(place * count)));
}

/** The place in the middle of the cell that is `step` cells on. */
function moved([y, x], [dy, dx], [height, width]) {
  const along = (place, step, count) =>
    (Math.min(count - 1, Math.max(0, cell(place, count) + step)) + 0.5) / count;
  return [along(y, dy, height), along(x, dx, width)];
}

// Drawing

function colourScale(stops) {
  const scale = new Uint8Array(3 * 256);
  for (let i = 0; i < 256; i += 1) {
    const at = (i / 255) * (stops.length - 1);
    const low = Math.min(stops.length - 2, Math.floor(at));
    for (let channel = 0; channel < 3; channel += 1) {
      const [a, b] = [stops[low][channel], stops[low + 1][channel]];
      scale[3 * i + channel] = Math.round(a + (at - low) * (b - a));
    }
  }
  return scale;
}

function blankCanvas(width, height) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  return canvas;
}

/** An opaque colour as one number of ImageData. */
function ink([red, green, blue]) {
  return new Uint32Array(new Uint8Array([red, green, blue, 255]).buffer)[0];
}

/** A map in colours, a pixel a token; values from `top` on share the last colour. */
function heatPicture(map, top, [height, width]) {
  const canvas = blankCanvas(width, height);
  const picture = new ImageData(width, height);
  for (let key = 0; key < map.length; key += 1) {
    const level = 3 * Math.round(255 * Math.min(1, map[key] / (top || 1)));
    picture.data.set([SCALE[level], SCALE[level + 1], SCALE[level + 2], 255], 4 * key);
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
  return canvas;
}

/**
 * Segments as two pictures: `fill`, each in its colour, and `lines`, white between segments with a
 * rim of each one's colour, for use over a map.
 */
function segmentPictures({ size: [rows, columns], ranks, colours }, width, height) {
  const column = Array.from({ length: width }, (_, x) => Math.floor(((x + 0.5) * columns) / width));
  const at = new Uint32Array(width * height);
  for (let y = 0; y < height; y += 1) {
    const row = columns * Math.floor(((y + 0.5) * rows) / height);
    for (let x = 0; x < width; x += 1) at[y * width + x] = ranks[row + column[x]];
  }
  const differs = (x, y, reach) => {
    const here = at[y * width + x];
    return (
      at[y * width + Math.min(width - 1, x + reach)] !== here ||
      at[y * width + Math.max(0, x - reach)] !== here ||
      at[Math.min(height - 1, y + reach) * width + x] !== here ||
      at[Math.max(0, y - reach) * width + x] !== here
    );
  };
  const inks = colours.map(ink);
  const white = ink([255, 255, 255]);
  const [fill, lines] = [new ImageData(width, height), new ImageData(width, height)];
  const [filled, lined] = [fill, lines].map(({ data }) => new Uint32Array(data.buffer));
  for (let y = 0, place = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, place += 1) {
      filled[place] = inks[at[place]];
      if (differs(x, y, 1)) lined[place] = white;
      else if (differs(x, y, 3)) lined[place] = inks[at[place]];
    }
  }
  return [fill, lines].map((picture) => {
    const canvas = blankCanvas(width, height);
    canvas.getContext("2d").putImageData(picture, 0, 0);
    return canvas;
  });
}

// Controls

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** A control below its name. */
function labelled(name, ...controls) {
  return make("label", {}, make("span", { textContent: name }), ...controls);
}

function select(options, onchange) {
  const control = make("select", { onchange: () => onchange(control.value) });
  for (const [value, text] of options) control.append(make("option", { value, textContent: text }));
  return control;
}

function slider(min, max, step, value, oninput) {
  const control = make("input", { type: "range", min, max, step, value });
  control.addEventListener("input", () => oninput(Number(control.value)));
  return control;
}

function checkbox(name, checked, onchange) {
  const control = make("input", { type: "checkbox", checked });
  control.addEventListener("change", () => onchange(control.checked));
  return make("label", { className: "check" }, control, name);
}

/** "mean of 8 heads" and each of them; nothing where there is but one. */
function meanAndEach(kind, names) {
  if (names.length < 2) return [];
  const mean = ["mean", `mean of ${names.length} ${kind}`];
  return [mean, ...names.map((name, i) => [String(i), name])];
}

function percent(value) {
  return `${Number((100 * value).toPrecision(2))} %`;
}

class Explorer {
  constructor(element, payload, options) {
    this.element = element;
    this.options = options;
    this.selection = { from: [0.5, 0.5], to: [0.5, 0.5] };
    this.pinned = false;
    this.drag = null;
    this.chosen = { layer: 0, head: "mean", step: "mean", word: "" };
    this.visible = { attention: true, segments: true };
    this.opacity = 0.7;
    this.show(payload);
  }

  /** Build everything for a payload. */
  show(payload) {
    this.payload = payload;
    this.maps = null;
    this.unpacked = new Map();
    this.labelsTurn = null;
    this.chosen.layer = Math.min(this.chosen.layer, payload.layers.length - 1);
    this.labels = null;
    this.build();
    this.picture = new Image();
    this.picture.src = payload.image;
    const labels = payload.labels ?? payload.levels[this.level]?.labels ?? null;
    Promise.all([this.picture.decode(), this.takeLabels(labels), this.takeMaps()]).then(() => {
      if (this.payload !== payload) return;
      this.draw();
      this.element.dataset.state = "ready";
    });
  }

  destroy() {
    cancelAnimationFrame(this.frame);
    this.payload = null;
    this.element.replaceChildren();
    this.element.classList.remove("attnprobe-explorer");
    delete this.element.dataset.state;
  }

  build() {
    const [height, width] = this.payload.size;
    const scale = CANVAS_SIDE / Math.max(height, width);
    this.canvas = blankCanvas(Math.round(width * scale), Math.round(height * scale));
    const id = `attnprobe-hint-${explorers}`;
    const hint = make("p", { className: "hint", textContent: HINT, id });
    explorers += 1;
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-label", `Attention in ${this.payload.title || "the picture"}`);
    this.canvas.setAttribute("aria-describedby", hint.id);
    this.listen();
    this.readout = make("output", { className: "readout" });
    this.top = make("span");
    this.scale = scaleBar(this.top);
    this.list = make("details", { open: true });
    const controls = [
      this.layerControls(),
      this.wordControl(),
      this.viewControls(),
      this.thresholdControl(),
      this.list,
      hint,
    ];
    const figure = make("figure", {}, this.canvas, this.scale, this.readout);
    if (this.payload.title) {
      figure.prepend(make("figcaption", { textContent: this.payload.title }));
    }
    this.element.classList.add("attnprobe-explorer");
    this.element.dataset.lmSuppressShortcuts = "true"; // Jupyter's own use of the arrow keys
    this.element.replaceChildren(
      figure,
      make("div", { className: "controls" }, ...controls.filter(Boolean)),
    );
  }

  layerControls() {
    const { layers } = this.payload;
    const names = layers.map(({ name, grid, tokens }, i) => {
      const pooled = String(grid) === String(tokens) ? "" : `, shown at ${grid.join("×")}`;
      return [String(i), `${name} · ${tokens.join("×")}${pooled}`];
    });
    const box = make("div", { className: "choices" });
    const fill = () => {
      const { heads, steps } = layers[this.chosen.layer];
      const numbers = heads.map((head) => `head ${head}`);
      const layer = select(names, (value) => {
        this.choose("layer", Number(value));
        fill();
        box.querySelector("select").focus();
      });
      layer.value = String(this.chosen.layer);
      box.replaceChildren(labelled("Layer", layer));
      this.addChoice(box, "Head", "head", meanAndEach("heads", numbers));
      this.addChoice(box, "Step", "step", meanAndEach("steps", steps));
    };
    fill();
    return box;
  }

  addChoice(box, name, key, options) {
    if (!options.some(([value]) => value === this.chosen[key])) this.chosen[key] = "mean";
    if (options.length === 0) return;
    const control = select(options, (value) => this.choose(key, value));
    control.value = this.chosen[key];
    box.append(labelled(name, control));
  }

  wordControl() {
    const { words } = this.payload;
    if (!words) return null;
    const options = [["", "none: the place's own map"], ...words.words.map((word) => [word, word])];
    const control = select(options, (value) => this.choose("word", value));
    if (!words.words.includes(this.chosen.word)) this.chosen.word = "";
    control.value = this.chosen.word;
    return labelled("Word", control);
  }

  viewControls() {
    const toggle = (key) => (checked) => {
      this.visible[key] = checked;
      this.schedule();
    };
    return make(
      "div",
      { className: "choices" },
      checkbox("Attention", this.visible.attention, toggle("attention")),
      checkbox("Segments", this.visible.segments, toggle("segments")),
      labelled(
        "Opacity",
        slider(0, 1, 0.05, this.opacity, (value) => {
          this.opacity = value;
          this.schedule();
        }),
      ),
    );
  }

  thresholdControl() {
    const { levels, threshold } = this.payload;
    const live = Boolean(this.options.regroup);
    if (!live && levels.length < 2) return null;
    const shown = make("span");
    const say = (value) => {
      shown.textContent = value.toFixed(2);
      control.setAttribute("aria-valuetext", shown.textContent);
    };
    const start = threshold ?? 1;
    const control = live
      ? slider(0.05, Math.max(1.5, 2 * start), 0.05, start, (value) => {
          say(value);
          this.regroup(value);
        })
      : slider(0, levels.length - 1, 1, this.level, (i) => {
          say(levels[i].threshold);
          this.takeLabels(levels[i].labels);
        });
    say(live ? start : levels[this.level].threshold);
    return labelled("Threshold ", shown, control);
  }

  /** The level nearest to the payload's threshold. */
  get level() {
    const { levels, threshold } = this.payload;
    if (threshold === null) return Math.floor(levels.length / 2);
    const far = levels.map((level) => Math.abs(level.threshold - threshold));
    return far.indexOf(Math.min(...far));
  }

  // What is shown

  choose(key, value) {
    this.chosen[key] = value;
    this.takeMaps();
  }

  /** Unpack the planes that are chosen, then draw; of calls that overtake each other the last. */
  async takeMaps() {
    const turn = (this.turn = {});
    const { word } = this.chosen;
    const maps = word ? await this.wordMap(word) : await this.layerMaps();
    if (turn !== this.turn) return;
    this.maps = maps;
    this.schedule();
  }

  async layerMaps() {
    const { name, grid, heads, steps, planes, scales } = this.payload.layers[this.chosen.layer];
    const count = grid[0] * grid[1];
    const units = await this.once(scales, Float32Array);
    const of = (key, length) =>
      this.chosen[key] === "mean" ? [...Array(length).keys()] : [Number(this.chosen[key])];
    const numbers = of("head", heads.length).flatMap((head) =>
      of("step", steps.length).map((step) => head * steps.length + step),
    );
    const taken = await Promise.all(
      numbers.map(async (number) => ({
        levels: await this.once(planes[number], Uint8Array),
        scales: units.subarray(number * count, (number + 1) * count),
      })),
    );
    return { name, grid, of: ({ queries }) => meanMap(taken, queries, count) };
  }

  async wordMap(word) {
    const { grid, words, planes, scales } = this.payload.words;
    const levels = await this.once(planes, Uint8Array);
    const units = await this.once(scales, Float32Array);
    const number = words.indexOf(word);
    const map = meanMap([{ levels, scales: units }], [number], grid[0] * grid[1]);
    return { word, grid, of: () => map };
  }

  /** A packed array, unpacked when first asked for. */
  once(packed, ArrayType) {
    if (!this.unpacked.has(packed)) this.unpacked.set(packed, unpack(packed, ArrayType));
    return this.unpacked.get(packed);
  }

  async takeLabels(labels) {
    if (labels === null) return;
    const turn = (this.labelsTurn = {});
    const { width, height } = this.canvas;
    const ranks = await unpack(labels.ranks, Uint32Array);
    if (turn !== this.labelsTurn) return;
    this.labels = { ...labels, ranks };
    [this.fill, this.lines] = segmentPictures(this.labels, width, height);
    this.listSegments();
    this.schedule();
  }

  /** Ask for other segments; while an answer is awaited, only the newest wish is kept. */
  async regroup(threshold) {
    this.wish = threshold;
    if (this.asking) return;
    this.asking = true;
    while (this.wish !== null) {
      const asked = this.wish;
      this.wish = null;
      try {
        await this.takeLabels(await this.options.regroup(asked));
      } catch (error) {
        this.readout.textContent = error.message;
      }
    }
    this.asking = false;
  }

  listSegments() {
    const { names, colours, shares } = this.labels;
    const items = names.slice(0, LISTED).map((name, rank) => {
      const square = make("span", { className: "square" });
      square.style.backgroundColor = `rgb(${colours[rank].join(" ")})`;
      const share = make("small", { textContent: percent(shares[rank]) });
      return make("li", {}, square, `${name} `, share);
    });
    if (names.length > LISTED) items.push(make("li", { textContent: "and smaller ones" }));
    const count = `${names.length} segment${names.length === 1 ? "" : "s"}`;
    this.list.replaceChildren(
      make("summary", { textContent: count }),
      make("ul", {}, ...items),
    );
  }

  // Pointing

  listen() {
    const { canvas } = this;
    const place = ({ clientX, clientY }) => {
      const box = canvas.getBoundingClientRect();
      return [(clientY - box.top) / box.height, (clientX - box.left) / box.width];
    };
    canvas.addEventListener("pointermove", (event) => {
      if (this.drag) this.select(this.drag.from, place(event));
      else if (!this.pinned && event.pointerType === "mouse") this.select(place(event));
    });
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !this.maps) return;
      canvas.setPointerCapture(event.pointerId);
      this.drag = { from: place(event), before: this.pinned ? this.selection : null };
      this.select(this.drag.from);
    });
    canvas.addEventListener("pointerup", () => this.drop());
    canvas.addEventListener("pointercancel", () => (this.drag = null));
    canvas.addEventListener("keydown", (event) => this.onKey(event));
  }

  select(from, to = from) {
    this.selection = { from, to };
    this.schedule();
  }

  /** The end of a click or a drag: what it chose stays, but a click on a pinned cell lets go. */
  drop() {
    if (!this.drag) return;
    const { before } = this.drag;
    const cells = (selection) => String(cellsUnder(selection, this.maps.grid).queries);
    this.pinned = !before || cells(before) !== cells(this.selection);
    this.drag = null;
    this.schedule();
  }

  onKey(event) {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[
      event.key
    ];
    if (step && this.maps) {
      const { from, to } = this.selection ?? { from: [0.5, 0.5], to: [0.5, 0.5] };
      const next = moved(to, step, this.maps.grid);
      this.select(event.shiftKey ? from : next, next);
      this.pinned = true;
    } else if (event.key === "Escape") {
      this.selection = null;
      this.pinned = false;
      this.schedule();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  // Drawing

  schedule() {
    if (!this.payload || this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  draw() {
    const { canvas, maps, selection, visible } = this;
    if (!this.picture.complete || !maps) return;
    const context = canvas.getContext("2d");
    const lay = (picture, alpha, smooth) => {
      context.globalAlpha = alpha;
      context.imageSmoothingEnabled = smooth;
      context.drawImage(picture, 0, 0, canvas.width, canvas.height);
      context.globalAlpha = 1;
    };
    const cells = selection && cellsUnder(selection, maps.grid);
    const map = maps.word || cells ? maps.of(cells) : null;
    const peak = map && peakOf(map);
    lay(this.picture, 1, true);
    const top = map && brightest(map);
    if (visible.attention && map) {
      lay(heatPicture(map, top, maps.grid), this.opacity, false);
    } else if (visible.segments && this.labels) {
      lay(this.fill, this.opacity, false);
    }
    if (visible.segments && this.labels) lay(this.lines, 1, true);
    if (cells) this.frameCells(context, cells);
    this.scale.style.visibility = visible.attention && map ? "visible" : "hidden";
    this.top.textContent = map ? `≥ ${percent(top)}` : "";
    this.readout.textContent = this.describe(cells, map, peak);
  }

  frameCells(context, { y0, y1, x0, x1 }) {
    const [rows, columns] = this.maps.grid;
    const [high, wide] = [this.canvas.height / rows, this.canvas.width / columns];
    const box = [x0 * wide, y0 * high, (x1 - x0 + 1) * wide, (y1 - y0 + 1) * high];
    for (const [colour, lineWidth] of [["black", 6], [this.pinned ? "#56b4e9" : "white", 3]]) {
      context.strokeStyle = colour;
      context.lineWidth = lineWidth;
      context.strokeRect(...box);
    }
  }

  /** What is seen, in words: the place, what it is looked at in, and where the map peaks. */
  describe(cells, map, peak) {
    const { word, name, grid } = this.maps;
    const [row, column] = map ? [Math.floor(peak / grid[1]), peak % grid[1]] : [];
    const most = map && `peaks at row ${row}, column ${column} with ${percent(map[peak])}`;
    if (!cells) return word ? `“${word}” ${most}.` : "Nothing is chosen.";
    const { y0, y1, x0, x1, queries } = cells;
    const place =
      queries.length === 1
        ? `Row ${y0}, column ${x0} of ${grid.join("×")}`
        : `Rows ${y0} to ${y1}, columns ${x0} to ${x1} of ${grid.join("×")} (mean)`;
    const said = `${place}${this.describeSegment()}.`;
    if (!word) return `${said} Its attention in ${name} ${most}.`;
    const here = queries.reduce((sum, query) => sum + map[query], 0) / queries.length;
    return `${said} Its attention to “${word}” is ${percent(here)}; “${word}” ${most}.`;
  }

  describeSegment() {
    if (!this.labels || !this.visible.segments) return "";
    const { size, ranks, names } = this.labels;
    const [y, x] = size.map((count, axis) => cell(this.selection.to[axis], count));
    return `, segment ${names[ranks[y * size[1] + x]]}`;
  }
}

/** The colours of a map from 0 to where they end. */
function scaleBar(top) {
  const bar = make("span", { className: "bar" });
  const stops = MAGMA.map((rgb) => `rgb(${rgb.join(" ")})`);
  bar.style.backgroundImage = `linear-gradient(to right, ${stops.join(", ")})`;
  return make("div", { className: "scale" }, make("span", { textContent: "0" }), bar, top);
}
