"use strict";
(() => {
  const table = document.querySelector("table.runs");
  const body = table.tBodies[0];
  const headers = [...table.tHead.rows[0].cells];
  const said = document.getElementById("said");

  const keyOf = (row, column) => {
    const { value, text } = row.cells[column].dataset;
    if (text !== undefined) return text;
    return value === "" ? null : Number(value);
  };

  // What is not known comes last, whichever way round the rest is.
  const compare = (a, b, direction) => {
    if (a === null || b === null) return (a === null) - (b === null);
    const order = typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
    return direction * order;
  };

  headers.forEach((header, column) => {
    header.querySelector("button").addEventListener("click", () => {
      const ascending = header.getAttribute("aria-sort") !== "ascending";
      const rows = [...body.rows];
      const keys = new Map(rows.map((row) => [row, keyOf(row, column)]));
      rows.sort((a, b) => compare(keys.get(a), keys.get(b), ascending ? 1 : -1));
      body.append(...rows);
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      said.textContent = `Sorted by ${header.textContent.trim()}, ${ascending ? "ascending" : "descending"}.`;
    });
  });
})();
