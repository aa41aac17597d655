// The sample browser. All texts go in as text nodes, never as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
if (document.getElementById("browser")) {
  const at = (id) => document.getElementById(id);
  const make = (tag, css, ...children) => {
    const node = document.createElement(tag);
    if (css) node.className = css;
    node.append(...children);
    return node;
  };
  const name = (label) => make("bdi", "", label);
  const fill = (select, labels) => select.replaceChildren(...labels.map((label, value) => {
    const node = make("option", "", label);
    node.value = value;
    return node;
  }));

  const [first] = data.comparisons;
  let task = data.tasks[0];
  let pair = first || [Math.min(1, data.rows.length - 1), 0];
  let column = 0;
  let order = { by: null, ascending: false };
  let found = [];
  let doc = null;

  const score = (document, row, index = column) => document.answers[row]?.scores[index] ?? null;
  const change = (document, index = column) => {
    const [before, after] = pair.map((row) => score(document, row, index));
    return before === null || after === null ? null : after - before;
  };
  // Positive where the candidate is better; where neither direction is, where it is higher.
  const gain = (document, index = column) => {
    const by = change(document, index);
    return by === null ? null : by * (task.columns[index].better === false ? -1 : 1);
  };
  const shown = (value, index = column) => (value === null ? "–" : (task.columns[index].scale * value).toFixed(1));
  const signed = (value, index = column) => (value === null ? "–" : `${value > 0 ? "+" : ""}${shown(value, index)}`);
  const colour = (value) => (value === null || value === 0 ? "" : value > 0 ? "up" : "down");
  const failed = (document) => pair.some((row) => !document.answers[row] || document.answers[row].scores[0] === null);
  const link = (document) => state.link({
    sample: `${encodeURIComponent(task.name)}/${document.id}`,
    pair: state.list(pair.map((row) => data.rows[row].label)),
  });

  const filters = [
    ["all", () => true],
    ["candidate better", (item) => gain(item) > 0],
    ["candidate worse", (item) => gain(item) !== null && gain(item) < 0],
    ["no difference", (item) => change(item) === 0],
    ["unanswered or failed", failed],
  ];
  const overlap = () => task.columns.findIndex(({ kind }) => kind === "overlap");
  const faithful = () => task.columns.findIndex(({ kind }) => kind === "faithfulness");
  const disagree = (item) => gain(item, overlap()) > 0 && gain(item, faithful()) !== null && gain(item, faithful()) < 0;

  const fillControls = () => {
    fill(at("score"), task.columns.map(({ key }) => key));
    at("score").value = column;
    const both = overlap() >= 0 && faithful() >= 0;
    const all = both ? [...filters, ["overlap up, faithfulness down", disagree]] : filters;
    const kept = at("filter").value;
    fill(at("filter"), all.map(([label]) => label));
    at("filter").value = kept && kept < all.length ? kept : 0;
    at("filter").tests = all.map(([, test]) => test);
    const some = (field) => task.documents.some(({ answers }) => answers.some((answer) => answer?.[field]));
    at("colours").hidden = !some("windows");
    at("unheld").hidden = !some("unsupported");
  };

  // Each character gets the mean probability of the windows that hold it (doubt is 0 from 0.5 up and 1 at 0), and the kind of
  // the unsupported item that it stands in. Both count characters of the stripped response; a string counts halves of some.
  const coloured = ({ response, windows = [], unsupported = [] }) => {
    if (!windows.length && !unsupported.length) return [response];
    const text = Array.from(response);
    const lead = Array.from(response.match(/^\s*/)[0]).length;
    const sum = new Array(text.length).fill(0);
    const count = new Array(text.length).fill(0);
    for (const [start, end, p] of windows)
      for (let i = start + lead; i < Math.min(end + lead, text.length); i += 1) { sum[i] += p; count[i] += 1; }
    const doubt = sum.map((total, i) => (count[i] ? Math.round(10 * Math.max(0, 1 - 2 * total / count[i])) / 10 : 0));
    const kind = new Array(text.length).fill("");
    for (const [start, end, name] of unsupported) kind.fill(name, start + lead, end + lead);
    const nodes = [];
    for (let start = 0; start < text.length;) {
      let end = start;
      while (end < text.length && doubt[end] === doubt[start] && kind[end] === kind[start]) end += 1;
      let node = text.slice(start, end).join("");
      if (doubt[start]) node = marked(make("mark", "", node), doubt[start]);
      if (kind[start]) node = unheld(make("mark", "unheld", node), kind[start]);
      nodes.push(node);
      start = end;
    }
    return nodes;
  };
  const unheld = (node, kind) => {
    node.title = `a ${kind} that the source does not hold`;
    return node;
  };
  const marked = (node, doubt) => {
    node.style.setProperty("--doubt", 0.2 + 0.8 * doubt);
    node.title = `mean window probability of being factual: about ${(0.5 - doubt / 2).toFixed(2)}`;
    return node;
  };
  for (const swatch of document.querySelectorAll("#colours mark")) marked(swatch, Number(swatch.dataset.doubt || 0.6));

  const promptOf = (answer) => {
    const source = answer.seen === undefined ? doc.source : Array.from(doc.source).slice(0, answer.seen).join("");
    return task.prompts[answer.prompt].split("{source}").join(source);
  };
  const prompt = (answer) => {
    if (answer?.prompt === undefined) return [];
    return [make("details", "prompt", make("summary", "", "Prompt"), make("p", "", promptOf(answer)))];
  };
  const notes = (answer) => {
    const texts = [];
    if (answer.seen !== undefined) texts.push(`saw the first ${answer.seen} characters of the source`);
    if (answer.windows) {
      const below = answer.windows.filter(([, , p]) => p < 0.5).length;
      texts.push(`${below} of ${answer.windows.length} windows below 0.5`);
    }
    if (answer.unsupported) texts.push(`${answer.unsupported.length} not in the source`);
    return texts.map((text) => make("span", "", text));
  };
  const body = (answer) => {
    if (!answer) return make("p", "empty", "unanswered: the record has no response to this document");
    if (answer.response === null) return make("p", "empty", "the response was not passed on");
    if (!answer.response.trim()) return make("p", "empty", "unanswered: an empty response");
    return make("p", "", ...coloured(answer));
  };
  const card = (row, role) => {
    const answer = doc.answers[row];
    const head = make("h3", "", make("b", "", name(data.rows[row].label)), role);
    const chips = make("div", "chips");
    task.columns.forEach(({ key }, index) => {
      const value = score(doc, row, index);
      const chip = make("span", "", `${key} `, value === null ? (answer && index === 0 ? "failed" : "–") : shown(value, index));
      const delta = role === "candidate" && pair[0] !== row ? change(doc, index) : null;
      if (delta) chip.append(" ", make("span", colour(gain(doc, index)), signed(delta, index)));
      chips.append(chip);
    });
    if (answer) chips.append(...notes(answer));
    return make("article", `card ${role}`, head, body(answer), chips, ...prompt(answer));
  };

  const show = () => {
    const index = found.indexOf(doc);
    at("position").value = found.length ? `${index + 1} of ${found.length}` : "none";
    at("previous").disabled = index <= 0;
    at("next").disabled = index >= found.length - 1;
    for (const row of at("list").rows) row.setAttribute("aria-current", row.dataset.id === String(doc?.id));
    if (!doc) return at("sample").replaceChildren(make("p", "empty", "No sample matches."));
    const [baseline, candidate] = pair;
    const article = make("article", "card article", make("h3", "", make("b", "", `Source ${doc.id}`)),
      doc.source ? make("p", "", doc.source) : make("p", "empty", "no source"));
    const references = doc.references.length ? [make("article", "card", make("h3", "", doc.references.length > 1
      ? `References (${doc.references.length})` : "Reference"), ...doc.references.map((text) => make("p", "", text)))] : [];
    const answers = make("div", "", ...references, card(candidate, "candidate"));
    if (baseline !== candidate) answers.append(card(baseline, "baseline"));
    const others = data.rows.map((_, row) => row).filter((row) => !pair.includes(row));
    if (others.length) {
      const more = make("details", "others", make("summary", "", `${others.length} other ${others.length > 1 ? "models" : "model"}`));
      more.open = others.length <= 3;
      more.append(...others.map((row) => card(row, "")));
      answers.append(more);
    }
    at("sample").replaceChildren(article, answers);
    const current = at("list").querySelector("[aria-current=true]");
    const list = at("list").closest(".list");
    if (current && (current.offsetTop < list.scrollTop + 40 || current.offsetTop > list.scrollTop + list.clientHeight - 40))
      list.scrollTop = current.offsetTop - list.clientHeight / 2;
  };
  const list = () => {
    at("list").replaceChildren(...found.map((item) => {
      const anchor = make("a", "", String(item.id));
      anchor.href = link(item);
      const cells = [make("td", "", anchor), make("td", "", shown(score(item, pair[0]))), make("td", "", shown(score(item, pair[1]))),
        make("td", colour(gain(item)), signed(change(item)))];
      const row = make("tr", "", ...cells);
      row.dataset.id = item.id;
      row.addEventListener("click", (event) => { if (event.target !== anchor) anchor.click(); });
      return row;
    }));
    for (const button of document.querySelectorAll(".list thead button")) {
      const head = button.closest("th");
      if (button.dataset.by === order.by) head.setAttribute("aria-sort", order.ascending ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    }
  };
  const keys = { id: (item) => item.id, before: (item) => score(item, pair[0]), after: (item) => score(item, pair[1]), change };
  const sorted = (items) => {
    if (!order.by) return items;
    const value = (item) => keys[order.by](item);
    return [...items].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === null || y === null) return (x === null) - (y === null);
      return order.ascending ? x - y : y - x;
    });
  };
  // Finds and lists the samples; the one shown stays if it is among them.
  const select = () => {
    const word = at("find").value.trim().toLowerCase();
    const texts = (item) => [item.source, ...item.references, ...item.answers.map((answer) => answer?.response || "")];
    const holds = (item) => !word || texts(item).some((text) => text.toLowerCase().includes(word));
    found = sorted(task.documents.filter((item) => at("filter").tests[at("filter").value](item) && holds(item)));
    if (!found.includes(doc)) doc = found[0] || null;
    list();
    show();
  };
  const go = (item) => {
    doc = item;
    history.pushState(null, "", link(item));
    list();
    show();
  };
  const step = (by) => {
    const next = found[found.indexOf(doc) + by];
    if (next) go(next);
  };

  fill(at("task"), data.tasks.map((item) => item.name));
  fill(at("candidate"), data.rows.map((row) => row.label));
  fill(at("baseline"), data.rows.map((row) => row.label));
  at("tasks").hidden = data.tasks.length < 2;
  const put = () => {
    at("task").value = data.tasks.indexOf(task);
    [at("baseline").value, at("candidate").value] = pair;
    fillControls();
  };
  at("previous").addEventListener("click", () => step(-1));
  at("next").addEventListener("click", () => step(1));
  at("find").addEventListener("input", select);
  at("filter").addEventListener("change", select);
  for (const id of ["task", "candidate", "baseline", "score"]) at(id).addEventListener("change", () => {
    if (task !== data.tasks[at("task").value]) {
      task = data.tasks[at("task").value];
      at("score").value = 0;
    }
    pair = [Number(at("baseline").value), Number(at("candidate").value)];
    column = Number(at("score").value);
    put();
    select();
    if (doc) history.replaceState(null, "", link(doc));
  });
  for (const button of document.querySelectorAll(".list thead button")) button.addEventListener("click", () => {
    const { by } = button.dataset;
    order = { by, ascending: order.by === by ? !order.ascending : by === "id" };
    select();
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, select, .scroll, .list") || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft" || event.key === "k") step(-1);
    if (event.key === "ArrowRight" || event.key === "j") step(1);
  });

  at("browser").hidden = false;
  put();
  select();
  // An address that names a sample shows it, whatever was filtered before.
  state.listen(({ sample, pair: wanted }) => {
    if (!sample) return;
    const cut = sample.lastIndexOf("/");
    const named = data.tasks.find((item) => item.name === state.decode(sample.slice(0, cut)));
    const item = named?.documents.find(({ id }) => String(id) === sample.slice(cut + 1));
    if (!item) return;
    const rows = (wanted || "").split(",").map((label) => data.rows.findIndex((row) => row.label === state.decode(label)));
    if (rows.length === 2 && rows.every((row) => row >= 0)) pair = rows;
    if (named !== task) column = 0;
    task = named;
    doc = item;
    put();
    if (found.includes(item) || at("find").value || at("filter").value !== "0") select();
    if (doc !== item) {
      at("find").value = "";
      at("filter").value = 0;
      doc = item;
    }
    select();
    if (document.activeElement === document.body) at("samples").scrollIntoView();
  });
}
