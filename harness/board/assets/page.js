"use strict";
// Sorting: a heading's button sorts by its column, and again the other way round; empty cells stay last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const ascending = head.getAttribute("aria-sort") === "descending" || (!head.hasAttribute("aria-sort") && column < 2);
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const value = (row) => {
      const cell = row.cells[column];
      if (!("value" in cell.dataset)) return cell.textContent.trim();
      return cell.dataset.value === "" ? null : Number(cell.dataset.value);
    };
    const order = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === null || y === null) return (x === null) - (y === null);
      const less = typeof x === "string" ? x.localeCompare(y) : x - y;
      return ascending ? less : -less;
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
  }));
}

// The sample browser. All texts go in as text nodes, never as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const box = document.getElementById("browser");
if (box) {
  const at = (id) => document.getElementById(id);
  const make = (tag, css, ...children) => {
    const node = document.createElement(tag);
    if (css) node.className = css;
    node.append(...children);
    return node;
  };
  const option = (value, label) => {
    const node = make("option", "", label);
    node.value = value;
    return node;
  };
  const first = data.columns.length ? data.columns[0].key : null;
  const faithful = data.columns.map((c) => c.key).find((k) => /^(factual_|oracle_faithfulness)/.test(k)) || first;
  const overlap = data.columns.map((c) => c.key).find((k) => /^(rouge|chrf|meteor|bertscore)/.test(k));
  const pairs = data.comparisons.length ? data.comparisons : data.rows.length > 1 ? [[1, 0]] : [[0, 0]];
  pairs.forEach(([a, b], i) => at("pair").append(option(i, `${data.rows[b].label} against ${data.rows[a].label}`)));
  const change = (doc, key) => {
    const [a, b] = pairs[at("pair").value].map((row) => doc.answers[row]);
    if (!a || !b || !(key in a.scores) || !(key in b.scores)) return null;
    return b.scores[key] - a.scores[key];
  };
  const filters = {
    all: ["all", () => true],
    better: [`candidate better on ${first}`, (doc) => change(doc, first) > 0],
    worse: [`candidate worse on ${first}`, (doc) => change(doc, first) < 0 && change(doc, first) !== null],
    same: ["no difference", (doc) => change(doc, first) === 0],
    failed: ["an answer failed", (doc) => pairs[at("pair").value].some((row) => !doc.answers[row] || !(first in doc.answers[row].scores))],
  };
  if (overlap && faithful && overlap !== faithful)
    filters.disagree = [`${overlap} up, ${faithful} down`, (doc) => change(doc, overlap) > 0 && change(doc, faithful) < 0];
  for (const [value, [label]] of Object.entries(filters)) at("filter").append(option(value, label));

  let found = [];
  let index = 0;

  // Each character gets the mean probability of the windows that cover it; doubt below 0.5 is coloured.
  const coloured = (answer) => {
    const text = answer.response;
    if (!answer.windows) return [document.createTextNode(text)];
    const sum = new Array(text.length).fill(0);
    const count = new Array(text.length).fill(0);
    for (const [start, end, p] of answer.windows)
      for (let i = start; i < Math.min(end, text.length); i += 1) { sum[i] += p; count[i] += 1; }
    const doubt = sum.map((s, i) => (count[i] ? Math.round(10 * Math.max(0, 1 - 2 * s / count[i])) / 10 : 0));
    const nodes = [];
    for (let start = 0; start < text.length;) {
      let end = start;
      while (end < text.length && doubt[end] === doubt[start]) end += 1;
      const piece = text.slice(start, end);
      if (doubt[start]) {
        const node = make("mark", "", piece);
        node.style.setProperty("--doubt", 0.25 + 0.75 * doubt[start]);
        node.title = `mean window probability of being factual: ${(0.5 - doubt[start] / 2).toFixed(2)}`;
        nodes.push(node);
      } else nodes.push(document.createTextNode(piece));
      start = end;
    }
    return nodes;
  };
  const card = (doc, row, css, name) => {
    const answer = doc.answers[row];
    const node = make("article", `card ${css}`, make("h3", "", make("b", "", data.rows[row].label), name));
    if (!answer) node.append(make("p", "empty", "no response"));
    else node.append(answer.response ? make("p", "", ...coloured(answer)) : make("p", "empty", "empty response"));
    const chips = make("div", "chips");
    for (const { key, scale } of data.columns) {
      const has = answer && key in answer.scores;
      const chip = make("span", "", `${key} ${has ? (scale * answer.scores[key]).toFixed(1) : "failed"}`);
      const delta = css === "candidate" ? change(doc, key) : null;
      if (delta) chip.append(" ", make("span", delta > 0 ? "up" : "down", `${delta > 0 ? "+" : ""}${(scale * delta).toFixed(1)}`));
      chips.append(chip);
    }
    node.append(chips);
    return node;
  };
  const show = () => {
    at("position").value = found.length ? `${index + 1} of ${found.length}` : "none";
    at("previous").disabled = index <= 0;
    at("next").disabled = index >= found.length - 1;
    const doc = found[index];
    if (!doc) return at("sample").replaceChildren(make("p", "empty", "No sample matches."));
    const [baseline, candidate] = pairs[at("pair").value];
    const source = make("article", "card article", make("h3", "", `Article ${doc.id}`), doc.source ? make("p", "", doc.source) : make("p", "empty", "no source"));
    const references = make("article", "card", make("h3", "", doc.references.length > 1 ? `References (${doc.references.length})` : "Reference"), ...doc.references.map((text) => make("p", "", text)));
    const answers = make("div", "", references, card(doc, candidate, "candidate", "candidate"));
    if (baseline !== candidate) answers.append(card(doc, baseline, "baseline", "baseline"));
    data.rows.forEach((_, row) => { if (row !== baseline && row !== candidate) answers.append(card(doc, row, "", "")); });
    return at("sample").replaceChildren(source, answers);
  };
  const select = () => {
    const word = at("find").value.trim().toLowerCase();
    const holds = (doc) => !word || [doc.source, ...doc.references, ...doc.answers.map((a) => (a ? a.response : ""))].some((text) => text.toLowerCase().includes(word));
    found = data.documents.filter((doc) => filters[at("filter").value][1](doc) && holds(doc));
    index = 0;
    show();
  };
  const step = (by) => { index = Math.min(Math.max(index + by, 0), Math.max(found.length - 1, 0)); show(); };
  at("previous").addEventListener("click", () => step(-1));
  at("next").addEventListener("click", () => step(1));
  for (const id of ["pair", "filter"]) at(id).addEventListener("change", select);
  at("find").addEventListener("input", select);
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, select, .scroll") || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft" || event.key === "k") step(-1);
    if (event.key === "ArrowRight" || event.key === "j") step(1);
  });
  box.hidden = false;
  select();
}
