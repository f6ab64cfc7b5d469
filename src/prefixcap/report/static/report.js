"use strict";

const make = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};

// ---- light and dark

const page = document.documentElement.dataset; // its theme was restored in the head
for (const input of document.querySelectorAll("input[name=theme]")) {
  input.checked = input.value === (page.theme ?? "auto");
  input.addEventListener("change", () => {
    page.theme = input.value;
    try {
      localStorage.setItem("prefixcap-theme", input.value);
    } catch {} // a page that is opened as a file may have no storage
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
  const first = (image) => score(image, chosen()[0]);
  const orders = {
    difference: [(image) => difference(image) && Math.abs(difference(image)), -1],
    first: [difference, -1],
    second: [difference],
    highest: [first, -1],
    lowest: [first],
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

  const row = (image, label, cell) => make(
    "tr",
    {},
    make("th", { scope: "row", ...AUTO }, label),
    make("td", {}, ...caption(image, cell)),
    make("td", { class: "number" }, formatted(image, cell)),
  );

  const item = (image) => {
    const node = root.querySelector("template").content.firstElementChild.cloneNode(true);
    const find = (selector) => node.querySelector(selector);
    if (image.picture) {
      const [width, height] = image.size;
      Object.assign(find("img"), { src: image.picture, alt: image.references[0] ?? image.id, width, height });
    } else {
      find("img").remove();
      node.classList.add("bare");
    }
    find("h3").append(image.id);
    const entries = [...new Set(chosen())].flatMap((cell) => [
      make("dt", AUTO, name(image, cell)),
      make("dd", {}, ...caption(image, cell)),
    ]);
    find("dl").prepend(...entries);
    find(".references ul").append(...image.references.map((text) => make("li", AUTO, text)));
    Object.assign(find(".scroll"), { role: "region", ariaLabel: `all captions of ${image.id}` });
    find("th.number").append(value("score"));
    // filled on demand: there may be a thousand cells
    const fill = () => find("tbody").append(...data.cells.map((label, cell) => row(image, label, cell)));
    find(":scope > details").addEventListener("toggle", fill, { once: true });
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

  const restart = () => {
    const words = value("text").trim().toLowerCase();
    const texts = (image) => [image.id, ...image.references, ...chosen().flatMap((cell) => captions(image, cell))];
    const matching = data.images.filter((image) => texts(image).some((text) => text.toLowerCase().includes(words)));
    images = value("sort") ? sorted(matching, ...orders[value("sort")]) : matching;
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
