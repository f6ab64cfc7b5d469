"use strict";

const make = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
};

const remember = (key, value) => {
  try {
    if (value === undefined) return localStorage.getItem(key);
    localStorage.setItem(key, value);
  } catch {
    // a page that is opened as a file may have no storage: then nothing is remembered
  }
  return null;
};

// ---- light and dark

const themes = document.querySelectorAll("input[name=theme]");

const setTheme = (theme) => {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
};

for (const input of themes) {
  if (input.value === (remember("prefixcap-theme") ?? "auto")) {
    input.checked = true;
    setTheme(input.value);
  }
  input.addEventListener("change", () => {
    setTheme(input.value);
    remember("prefixcap-theme", input.value);
  });
}

// ---- tables that sort by the column whose heading is pressed

const sortKey = (row, column) => {
  const cell = row.cells[column];
  if (cell.dataset.value === undefined) return cell.textContent.trim();
  return cell.dataset.value === "" ? null : Number(cell.dataset.value);
};

const compare = (a, b) => {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
};

const sortTable = (table, heading, direction) => {
  const column = heading.cellIndex;
  for (const other of table.tHead.rows[0].cells) {
    if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
  }
  heading.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  for (const body of table.tBodies) {
    const keyed = [...body.rows].map((row) => [sortKey(row, column), row]);
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * compare(a, b);
    });
    body.append(...keyed.map(([, row]) => row));
  }
};

for (const button of document.querySelectorAll("th[aria-sort] > button")) {
  const heading = button.parentElement;
  button.addEventListener("click", () => {
    const first = heading.classList.contains("number") ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const next = heading.getAttribute("aria-sort") === first ? other : first;
    sortTable(button.closest("table"), heading, next);
  });
}

// ---- seeds together, or every seed by itself

for (const input of document.querySelectorAll("input[name=seeds]")) {
  input.addEventListener("change", () => {
    for (const body of document.querySelectorAll("[data-seeds]")) {
      body.hidden = body.dataset.seeds !== input.value;
      body.parentElement.dataset.shown = input.value;
    }
  });
}

// ---- the gallery

const PAGE = 24;
// texts may be of any language: Arabic and Hebrew begin on the right
const AUTO = { dir: "auto" };

class Gallery {
  constructor(root, data) {
    this.root = root;
    this.data = data;
    this.list = root.querySelector(".gallery");
    this.status = root.querySelector("[role=status]");
    this.button = root.querySelector(".more button");
    this.form = root.querySelector("form");
    this.form.addEventListener("submit", (event) => event.preventDefault());
    for (const name of ["input", "change"]) this.form.addEventListener(name, () => this.restart());
    this.button.addEventListener("click", () => this.more(true));
    this.restart();
  }

  // a choice is told twice, and leaving a field tells it once more: then nothing begins anew
  restart() {
    const choices = new URLSearchParams(new FormData(this.form)).toString();
    if (choices === this.choices) return;
    this.choices = choices;
    this.start();
  }

  value(name) {
    return this.form.elements[name]?.value ?? "";
  }

  cell(name) {
    const found = this.value(name);
    return found === "" ? null : Number(found);
  }

  captions(image, cell) {
    return image.captions[cell].map((text) => this.data.texts[text]);
  }

  score(image, cell) {
    const scores = this.data.scores[this.value("score")];
    return cell === null || !scores?.[cell] ? null : scores[cell][image.row];
  }

  // the first cell's score minus the second's; null where one has none
  difference(image) {
    const [a, b] = [this.score(image, this.cell("first")), this.score(image, this.cell("second"))];
    return a === null || b === null ? null : a - b;
  }

  chosen() {
    return [this.cell("first"), this.cell("second")].filter((cell) => cell !== null);
  }

  texts(image) {
    const where = this.value("where");
    const every = image.captions.map((_, cell) => cell);
    const cells = where === "all" ? every : where === "references" ? [] : this.chosen();
    const found = cells.flatMap((cell) => this.captions(image, cell));
    return [...found, ...(where === "cells" ? [] : image.references), image.id];
  }

  kept(image) {
    const words = this.value("text").trim().toLowerCase();
    if (words && !this.texts(image).some((text) => text.toLowerCase().includes(words))) return false;
    const only = this.value("only");
    const difference = this.difference(image);
    if (only === "first") return difference !== null && difference > 0;
    if (only === "second") return difference !== null && difference < 0;
    if (only === "other") {
      const [a, b] = [this.cell("first"), this.cell("second")];
      return b !== null && this.captions(image, a)[0] !== this.captions(image, b)[0];
    }
    return true;
  }

  order(images) {
    const key = {
      difference: (image) => this.difference(image) && -Math.abs(this.difference(image)),
      first: (image) => this.difference(image) && -this.difference(image),
      second: (image) => this.difference(image),
      highest: (image) => this.score(image, this.cell("first")) && -this.score(image, this.cell("first")),
      lowest: (image) => this.score(image, this.cell("first")),
    }[this.value("sort")];
    if (!key) return images;
    const keyed = images.map((image) => [key(image), image]);
    keyed.sort(([a], [b]) => (a === null) - (b === null) || a - b);
    return keyed.map(([, image]) => image);
  }

  start() {
    this.images = this.order(this.data.images.filter((image) => this.kept(image)));
    this.list.replaceChildren();
    this.shown = 0;
    this.more(false);
  }

  more(focus) {
    const next = this.images.slice(this.shown, this.shown + PAGE).map((image) => this.item(image));
    this.list.append(...next);
    this.shown += next.length;
    this.button.hidden = this.shown >= this.images.length;
    const [all, found] = [this.data.images.length, this.images.length];
    const some = found === 1 ? "1 image that matches is" : `${found} images that match are`;
    this.status.textContent =
      found === all
        ? `${this.shown} of ${all} ${all === 1 ? "image" : "images"} shown`
        : `${this.shown} of ${some} shown (${all} in all)`;
    if (focus && next.length) {
      next[0].tabIndex = -1;
      next[0].focus();
    }
  }

  marked(text) {
    // what is searched for may be longer in lower case (a Turkish I with a dot), and so may the text:
    // then places in the two do not agree, and nothing is marked
    const words = this.value("text").trim().toLowerCase();
    const lower = text.toLowerCase();
    if (!words || lower.length !== text.length) return [text];
    const parts = [];
    let start = 0;
    for (;;) {
      const found = lower.indexOf(words, start);
      if (found < 0) break;
      parts.push(text.slice(start, found));
      parts.push(make("mark", {}, text.slice(found, found + words.length)));
      start = found + words.length;
    }
    return [...parts, text.slice(start)];
  }

  caption(image, cell) {
    const [first, ...rest] = this.captions(image, cell);
    const text = first === "" ? make("span", { class: "empty" }, "(empty)") : make("span", AUTO, ...this.marked(first));
    const nodes = [text];
    if (rest.length) {
      const list = make("ul", {}, ...rest.map((other) => make("li", AUTO, ...this.marked(other))));
      nodes.push(make("details", {}, make("summary", {}, `${rest.length} more`), list));
    }
    return nodes;
  }

  named(image, cell) {
    const score = this.score(image, cell);
    return this.data.cells[cell] + (score === null ? "" : ` \u00b7 ${this.value("score")} ${score.toFixed(3)}`);
  }

  item(image) {
    const entries = [...new Set(this.chosen())].flatMap((cell) => [
      make("dt", AUTO, this.named(image, cell)),
      make("dd", {}, ...this.caption(image, cell)),
    ]);
    const references = image.references.map((text) => make("li", AUTO, ...this.marked(text)));
    const body = make(
      "div",
      {},
      make("h3", AUTO, ...this.marked(image.id)),
      make("dl", {}, ...entries, make("dt", {}, "references"), make("dd", { class: "references" }, make("ul", {}, ...references))),
    );
    const item = make("li", image.picture ? {} : { class: "bare" });
    if (image.picture) {
      const alt = image.references[0] ?? image.id;
      const [width, height] = image.size;
      item.append(make("img", { src: image.picture, alt, width, height, decoding: "async" }));
    }
    item.append(body, this.others(image));
    return item;
  }

  others(image) {
    const details = make("details", {}, make("summary", {}, `all ${this.data.cells.length} captions`));
    details.addEventListener("toggle", () => {
      // a thousand cells would be slow to lay out unasked
      if (!details.open || details.querySelector("table")) return;
      const rows = this.data.cells.map((name, cell) => {
        const score = this.score(image, cell);
        return make(
          "tr",
          {},
          make("th", { scope: "row", ...AUTO }, name),
          make("td", {}, ...this.caption(image, cell)),
          make("td", { class: "number" }, score === null ? "" : score.toFixed(3)),
        );
      });
      const head = make("tr", {}, ...["cell", "caption", this.value("score")].map((text) => make("th", { scope: "col" }, text)));
      const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
      details.append(make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `all captions of ${image.id}` }, table));
    });
    return details;
  }
}

const gallery = document.querySelector("#gallery");
if (gallery) {
  const data = JSON.parse(document.querySelector("#gallery-data").textContent);
  new Gallery(gallery, data);
}
