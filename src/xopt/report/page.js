"use strict";
const root = document.documentElement, theme = document.getElementById("theme");
const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
const tell = () => theme.setAttribute("aria-pressed", String(dark()));
theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; tell(); });
tell();
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach(other => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = row => {
      const cell = row.cells[column], number = cell.dataset.value;
      return number === undefined ? cell.textContent : Number(number);
    };
    const order = (a, b) => {
      const x = value(a), y = value(b);
      return (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y))) * (down ? -1 : 1);
    };
    for (const body of table.tBodies) {
      const moving = [...body.rows].filter(row => !row.classList.contains("mean") && !row.classList.contains("group"));
      const last = [...body.rows].filter(row => row.classList.contains("mean"));
      body.append(...moving.sort(order), ...last);
    }
  }));
}
