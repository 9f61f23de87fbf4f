// A table is sorted by the column whose heading is pressed, and turned round if pressed again.
// What has no value stays last.

function sortBy(heading) {
  const ascending = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const body = heading.closest("table").tBodies[0];
  const rows = [...body.rows].map((row) => {
    const cell = row.cells[heading.cellIndex];
    return [cell.dataset.value ?? cell.textContent, row];
  });
  const isNumeric = rows.every(([value]) => !Number.isNaN(Number(value)));
  rows.sort(([a], [b]) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    return (ascending ? 1 : -1) * (isNumeric ? a - b : a.localeCompare(b));
  });
  body.append(...rows.map(([, row]) => row));
}

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => sortBy(button.closest("th")));
}

// A link to an image opens its card.

function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
}

addEventListener("hashchange", openTarget);
openTarget();
