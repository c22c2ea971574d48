"use strict";

// Sorts and filters the tables of this page. Without it they stand as they were written.

const collator = new Intl.Collator(undefined, { numeric: true });
const rows = [...document.querySelectorAll("main table.data tbody tr")].map((row) => ({
  row,
  text: row.textContent.toLowerCase(),
}));

function keyOf(row, index) {
  const cell = row.cells[index];
  return "v" in cell.dataset ? Number(cell.dataset.v) : cell.textContent.trim();
}

// Missing values go last in either direction: text in a column of numbers, or nothing.
function compare(a, b, direction, numeric) {
  const missing = (key) => (numeric ? typeof key !== "number" : key === "");
  if (missing(a) || missing(b)) return missing(a) - missing(b);
  return direction * (numeric ? a - b : collator.compare(a, b));
}

function sort(table, index, direction) {
  const body = table.tBodies[0];
  const written = (table.written ??= [...body.rows]);
  if (!direction) return body.append(...written);
  const keyed = written.map((row) => ({ row, key: keyOf(row, index) }));
  const numeric = keyed.some(({ key }) => typeof key === "number");
  keyed.sort((a, b) => compare(a.key, b.key, direction, numeric));
  body.append(...keyed.map(({ row }) => row));
}

// Up, down, and as written.
const NEXT = { none: "ascending", ascending: "descending", descending: "none" };
const DIRECTION = { none: 0, ascending: 1, descending: -1 };

for (const table of document.querySelectorAll("table.data")) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    header.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const order = NEXT[header.getAttribute("aria-sort")];
      for (const other of headers) other.setAttribute("aria-sort", "none");
      header.setAttribute("aria-sort", order);
      sort(table, index, DIRECTION[order]);
    });
  });
}

const tools = document.querySelector(".tools");
const filter = document.getElementById("filter");
const found = tools.querySelector("output");

// A row stays where it has every word.
function narrow() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const { row, text } of rows) {
    row.hidden = !words.every((word) => text.includes(word));
    shown += !row.hidden;
  }
  found.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
}

filter.addEventListener("input", narrow);
filter.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  filter.value = "";
  narrow();
});

const fold = document.getElementById("fold");
const folded = [...document.querySelectorAll("main details")];
const atFirst = folded.filter((details) => details.open);

fold.addEventListener("click", () => {
  const all = fold.getAttribute("aria-pressed") === "false";
  fold.setAttribute("aria-pressed", String(all));
  for (const details of folded) details.open = all || atFirst.includes(details);
});

// Paper unfolds nothing. Data of figures stay folded: they are pages long.
let before = [];
addEventListener("beforeprint", () => {
  before = folded.filter((details) => !details.open && !details.matches(".data-of"));
  for (const details of before) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of before) details.open = false;
});

tools.hidden = rows.length === 0;
