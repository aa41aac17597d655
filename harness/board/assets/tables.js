// Sorting: a heading's button sorts by its column, and again the other way round; empty cells stay last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const text = head.classList.contains("label");
    const first = text || column === 0;
    const ascending = head.getAttribute("aria-sort") === "descending" || (!head.hasAttribute("aria-sort") && first);
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const value = (row) => {
      if (text) return row.dataset.model;
      const found = row.cells[column].dataset.value;
      return found === "" ? null : Number(found);
    };
    const order = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === null || y === null) return (x === null) - (y === null);
      const less = text ? x.localeCompare(y) : x - y;
      return ascending ? less : -less;
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
  }));
}

// Columns that are switched off are hidden cell by cell; a group of columns goes when its last one does.
{
  const boxes = [...document.querySelectorAll(".picker input")];
  const show = () => {
    for (const table of document.querySelectorAll("table.sortable")) {
      const checks = [...document.querySelectorAll(`[data-for="${table.dataset.name}"] .picker input`)];
      const [groups, heads] = table.tHead.rows;
      const labels = heads.cells.length - checks.length;
      for (const row of [heads, ...table.tBodies[0].rows])
        checks.forEach((box, column) => { row.cells[column + labels].hidden = !box.checked; });
      let column = 0;
      for (const group of [...groups.cells].slice(labels)) {
        group.dataset.span ??= group.colSpan;
        const span = checks.slice(column, column += Number(group.dataset.span)).filter((box) => box.checked).length;
        group.hidden = span === 0;
        if (span) group.colSpan = span;
      }
    }
  };
  boxes.forEach((box) => box.addEventListener("change", () => {
    show();
    state.write({ hide: state.list(boxes.filter((other) => !other.checked).map((other) => other.value)) });
  }));
  state.listen(({ hide }) => {
    const hidden = new Set((hide || "").split(",").map(state.decode));
    boxes.forEach((box) => { box.checked = !hidden.has(box.value); });
    show();
  });
}

// Rows whose model is not looked for are hidden, in all tables.
{
  const input = document.getElementById("model");
  const rows = [...document.querySelectorAll("tr[data-model]")];
  const models = rows.filter((row) => row.closest("table").dataset.name === "results");
  const show = () => {
    const word = input.value.trim().toLowerCase();
    for (const row of rows) row.hidden = !row.dataset.model.toLowerCase().includes(word);
    document.getElementById("models").value = `${models.filter((row) => !row.hidden).length} of ${models.length} models`;
  };
  input?.addEventListener("input", () => {
    show();
    state.write({ model: encodeURIComponent(input.value.trim()) });
  });
  if (input) state.listen(({ model }) => {
    const word = state.decode(model || "");
    if (word !== input.value.trim()) input.value = word;
    show();
  });
}

// A line under a box says where there is more to scroll to.
{
  const watch = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const box = target.closest(".scroll");
      box.nextElementSibling.hidden = box.scrollWidth <= box.clientWidth + 1;
    }
  });
  for (const box of document.querySelectorAll(".scroll")) { watch.observe(box); watch.observe(box.firstElementChild); }
}
