"use strict";

const make = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};

// a page that is opened as a file may have no storage
const remember = (key, value) => {
  try {
    if (value === undefined) return localStorage.getItem(key);
    localStorage.setItem(key, value);
  } catch {}
  return null;
};

// ---- light and dark

for (const input of document.querySelectorAll("input[name=theme]")) {
  const apply = () => {
    if (input.value === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = input.value;
  };
  if (input.value === (remember("prefixcap-theme") ?? "auto")) {
    input.checked = true;
    apply();
  }
  input.addEventListener("change", () => {
    apply();
    remember("prefixcap-theme", input.value);
  });
}

// ---- tables that are sorted by the column whose heading is clicked

const sortKey = (row, column) => {
  const cell = row.cells[column];
  if (cell.dataset.value === undefined) return cell.textContent.trim();
  return cell.dataset.value === "" ? null : Number(cell.dataset.value);
};

const compare = (a, b) => {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
};

// missing values are last in both directions
const sorted = (items, key, sign = 1) => {
  const keyed = items.map((item) => [key(item), item]);
  keyed.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b)));
  return keyed.map(([, item]) => item);
};

for (const button of document.querySelectorAll("th[aria-sort] > button")) {
  const heading = button.parentElement;
  button.addEventListener("click", () => {
    const first = heading.classList.contains("number") ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const direction = heading.getAttribute("aria-sort") === first ? other : first;
    for (const each of heading.parentElement.querySelectorAll("[aria-sort]")) each.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", direction);
    const sign = direction === "ascending" ? 1 : -1;
    for (const body of button.closest("table").tBodies) {
      body.append(...sorted([...body.rows], (row) => sortKey(row, heading.cellIndex), sign));
    }
  });
}

// ---- all seeds together, or single seeds

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
const AUTO = { dir: "auto" }; // captions may be in a language that is written from right to left

const openGallery = (root, data) => {
  const list = root.querySelector(".gallery");
  const button = root.querySelector(".more button");
  const form = root.querySelector("form");
  const value = (name) => form.elements[name].value;
  const chosen = () => ["first", "second"].map(value).filter((cell) => cell !== "").map(Number);
  const captions = (image, cell) => image.captions[cell].map((text) => data.texts[text]);
  const score = (image, cell) => data.scores[value("score")]?.[cell]?.[image.row] ?? null;
  const difference = (image) => {
    const [a, b] = chosen().map((cell) => score(image, cell));
    return a === null || b === null || b === undefined ? null : a - b;
  };
  const negative = (number) => number === null ? null : -number;
  const keys = {
    difference: (image) => difference(image) === null ? null : -Math.abs(difference(image)),
    first: (image) => negative(difference(image)),
    second: difference,
    highest: (image) => negative(score(image, chosen()[0])),
    lowest: (image) => score(image, chosen()[0]),
  };
  let images = [];
  let shown = 0;

  const caption = (image, cell) => {
    const [first, ...rest] = captions(image, cell);
    const nodes = [first === "" ? make("span", { class: "empty" }, "(empty)") : make("span", AUTO, first)];
    if (rest.length) {
      const others = make("ul", {}, ...rest.map((text) => make("li", AUTO, text)));
      nodes.push(make("details", {}, make("summary", {}, `${rest.length} more`), others));
    }
    return nodes;
  };

  const formatted = (image, cell) => score(image, cell)?.toFixed(3) ?? "";

  const name = (image, cell) => {
    const number = formatted(image, cell);
    return data.cells[cell] + (number && ` \u00b7 ${value("score")} ${number}`);
  };

  const allCaptions = (image) => {
    const details = make("details", {}, make("summary", {}, `all ${data.cells.length} captions`));
    // built on demand: there may be a thousand cells
    details.addEventListener("toggle", () => {
      const rows = data.cells.map((label, cell) => make(
        "tr",
        {},
        make("th", { scope: "row", ...AUTO }, label),
        make("td", {}, ...caption(image, cell)),
        make("td", { class: "number" }, formatted(image, cell)),
      ));
      const head = ["cell", "caption", value("score")].map((text) => make("th", { scope: "col" }, text));
      const table = make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
      const region = { class: "scroll", tabindex: "0", role: "region", "aria-label": `all captions of ${image.id}` };
      details.append(make("div", region, table));
    }, { once: true });
    return details;
  };

  const item = (image) => {
    const entries = [...new Set(chosen())].flatMap((cell) => [
      make("dt", AUTO, name(image, cell)),
      make("dd", {}, ...caption(image, cell)),
    ]);
    const references = make("ul", {}, ...image.references.map((text) => make("li", AUTO, text)));
    entries.push(make("dt", {}, "references"), make("dd", { class: "references" }, references));
    const node = make("li", image.picture ? {} : { class: "bare" });
    if (image.picture) {
      const [width, height] = image.size;
      const alt = image.references[0] ?? image.id;
      node.append(make("img", { src: image.picture, alt, width, height, decoding: "async" }));
    }
    node.append(make("div", {}, make("h3", AUTO, image.id), make("dl", {}, ...entries)), allCaptions(image));
    return node;
  };

  const more = () => {
    list.append(...images.slice(shown, shown + PAGE).map(item));
    shown = list.children.length;
    button.hidden = shown >= images.length;
    const status = `${shown} of ${images.length} images shown`;
    const all = images.length < data.images.length ? ` (${data.images.length} in all)` : "";
    root.querySelector("[role=status]").textContent = status + all;
  };

  form.addEventListener("submit", (event) => event.preventDefault());
  const restart = () => {
    const words = value("text").trim().toLowerCase();
    const texts = (image) => [image.id, ...image.references, ...chosen().flatMap((cell) => captions(image, cell))];
    const matching = data.images.filter((image) => texts(image).some((text) => text.toLowerCase().includes(words)));
    images = value("sort") ? sorted(matching, keys[value("sort")]) : matching;
    list.replaceChildren();
    shown = 0;
    more();
  };
  // a search field also sends "change" when it loses focus, which must not redraw the list
  for (const field of form.elements) field.addEventListener(field.type === "search" ? "input" : "change", restart);
  button.addEventListener("click", () => {
    const next = shown;
    more();
    list.children[next].tabIndex = -1;
    list.children[next].focus();
  });
  restart();
};

const gallery = document.querySelector("#gallery");
if (gallery) openGallery(gallery, JSON.parse(document.querySelector("#gallery-data").textContent));
