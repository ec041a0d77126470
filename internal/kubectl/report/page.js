"use strict";
// Tables sort by their heads and have a filter; without this script they are only read.
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => [row.cells[column].textContent, row]);
      rows.sort((a, b) => a[0].localeCompare(b[0], "en", { numeric: true }) * (down ? -1 : 1));
      body.replaceChildren(...rows.map((pair) => pair[1]));
    });
  });
  const filter = document.createElement("input");
  filter.type = "search";
  filter.placeholder = "Filter";
  filter.setAttribute("aria-label", "Filter rows");
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase();
    for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(words);
  });
  table.before(filter);
}
// A pod or a volume that is pointed at shows where its replicas are.
const nodes = new Map([...document.querySelectorAll("[data-node]")].map((node) => [node.dataset.node, node]));
const replicas = new Map([...document.querySelectorAll("tr[data-volume]")].map((row) => [row.dataset.volume, row.cells[3].textContent.split(/, | \| /)]));
const show = (event, on) => {
  const source = event.target.closest && event.target.closest("[data-claims]");
  if (!source) return;
  for (const claim of source.dataset.claims.split(" "))
    for (const name of replicas.get(claim) || []) if (nodes.has(name)) nodes.get(name).classList.toggle("hit", on);
};
for (const [name, on] of [["pointerover", true], ["focusin", true], ["pointerout", false], ["focusout", false]])
  document.addEventListener(name, (event) => show(event, on));
