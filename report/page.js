"use strict";
// number parses a cell's text: it may have commas and a unit. A cell without a number is less
// than any number.
function number(text) {
  const found = text.replace(/,/g, "").match(/-?\d+(\.\d+)?(e[+-]?\d+)?/i);
  return found ? parseFloat(found[0]) : -Infinity;
}
for (const table of document.querySelectorAll("table.sort")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach(h => h.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const text = row => row.cells[at].textContent.trim();
      const words = head.classList.contains("l");
      const rows = [...body.rows].sort((a, b) => {
        const order = words ? text(a).localeCompare(text(b), undefined, { numeric: true }) : number(text(a)) - number(text(b));
        return (up ? order : -order) || 0;
      });
      body.append(...rows);
    });
  });
  const label = document.createElement("label"), field = document.createElement("input"), shown = document.createElement("span");
  field.type = "search";
  shown.setAttribute("role", "status");
  label.append("Rows with ", field);
  const line = document.createElement("p");
  line.className = "filter";
  line.append(label, " ", shown);
  table.closest(".wide").before(line);
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(w => w);
    let left = 0;
    for (const row of body.rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every(w => text.includes(w));
      if (!row.hidden) left++;
    }
    shown.textContent = left + " of " + body.rows.length + " rows";
  });
}
// Hovering over a candidate in the chart or the table marks it in both.
for (const one of document.querySelectorAll("[data-key]")) {
  const mark = on => () => {
    for (const same of document.querySelectorAll("[data-key]"))
      if (same.dataset.key === one.dataset.key) same.classList.toggle("marked", on);
  };
  one.addEventListener("mouseenter", mark(true));
  one.addEventListener("mouseleave", mark(false));
}
