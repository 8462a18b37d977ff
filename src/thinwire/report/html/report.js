"use strict";
// Text reaches the page through textContent alone: no question or answer is ever read as markup.

(function sorting() {
  const number = (cell) => (cell.dataset.value === undefined ? null : Number(cell.dataset.value));
  const compare = (a, b, numeric) => (numeric ? number(a) - number(b) : a.dataset.value.localeCompare(b.dataset.value));
  for (const table of document.querySelectorAll("table.sortable")) {
    table.querySelectorAll("thead th").forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") !== "descending";
        table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const numeric = head.classList.contains("number");
        const cell = (row) => row.cells[column];
        const rows = [...table.tBodies[0].rows];
        const known = rows.filter((row) => cell(row).dataset.value !== undefined);
        known.sort((a, b) => (down === numeric ? -1 : 1) * compare(cell(a), cell(b), numeric));
        table.tBodies[0].append(...known, ...rows.filter((row) => !known.includes(row)));
      });
    });
  }
})();

(function curves() {
  const buttons = [...document.querySelectorAll("#training button[data-arm]")];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      const taken = buttons.map((other) => other.dataset.slot).filter(Boolean);
      if (on && !button.dataset.css) {
        button.dataset.slot = ["1", "2", "3", "4", "5"].find((slot) => !taken.includes(slot)) || "5";
      } else if (!on) {
        delete button.dataset.slot;
      }
      const css = on ? button.dataset.css || `on c${button.dataset.slot}` : "";
      button.setAttribute("aria-pressed", String(on));
      button.querySelector("i").className = css;
      for (const line of document.querySelectorAll(`.run[data-arm="${button.dataset.arm}"]`)) {
        line.setAttribute("class", `run ${css}`);
        if (on) line.parentNode.append(line);
      }
    });
  }
})();

(async function questions() {
  const holder = document.getElementById("question-data");
  if (!holder) return;
  const SIZE = 25;
  const found = document.getElementById("found");
  const read = async () => {
    if (holder.dataset.encoding !== "deflate") return JSON.parse(holder.textContent);
    const bytes = Uint8Array.from(atob(holder.textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  };
  let data;
  try {
    data = await read();
  } catch (error) {
    found.textContent = `This browser cannot unpack the questions (${error.name}); a newer one can.`;
    return;
  }
  const [ID, QUESTION, GOLDS, TEXT, BASELINE, BEST] = [0, 1, 2, 3, 5, 7];
  const scored = (row) => row[BASELINE + 1] !== null && row[BEST + 1] !== null;
  const right = (row, answer) => row[answer + 1] === 1;
  const filters = {
    all: () => true,
    fixed: (row) => scored(row) && !right(row, BASELINE) && right(row, BEST),
    broke: (row) => scored(row) && right(row, BASELINE) && !right(row, BEST),
  };
  const words = data.rows.map((row) =>
    [row[ID], row[QUESTION], ...row[GOLDS], row[TEXT], row[BASELINE], row[BEST]].join("\n").toLowerCase());
  const body = document.querySelector("#question-table tbody");
  const state = { filter: "all", search: "", page: 0, shown: [] };

  const element = (name, text, css) => {
    const made = document.createElement(name);
    made.textContent = text;
    if (css) made.className = css;
    return made;
  };
  const answer = (row, at, label) => {
    const cell = element("td", "");
    cell.dataset.label = label;
    cell.dir = "auto";
    if (row[at] === null) {
      cell.append(element("span", "–", "nothing"));
      return cell;
    }
    cell.append(row[at] === "" ? element("span", "(empty)", "nothing") : row[at]);
    const score = row[at + 1];
    if (score !== null) {
      const kind = score === 1 ? "right" : score === 0 ? "wrong" : "part";
      const sign = { right: "✓", wrong: "✗", part: "" }[kind];
      cell.append(" ", element("mark", `${sign} ${(100 * score).toFixed(0)}`.trim(), kind));
    }
    return cell;
  };
  const line = (row) => {
    const made = document.createElement("tr");
    const question = element("td", row[QUESTION]);
    question.dir = "auto";
    question.append(element("span", row[ID], "id"));
    const golds = element("td", row[GOLDS].join(" / "));
    golds.dataset.label = "gold";
    golds.dir = "auto";
    made.append(question, golds, answer(row, TEXT, data.names.text_control));
    made.append(answer(row, BASELINE, data.names.baseline), answer(row, BEST, data.names.best));
    return made;
  };
  const draw = () => {
    const pages = Math.max(1, Math.ceil(state.shown.length / SIZE));
    const start = state.page * SIZE;
    body.replaceChildren(...state.shown.slice(start, start + SIZE).map((index) => line(data.rows[index])));
    found.textContent = `${state.shown.length.toLocaleString("en")} of ${data.rows.length.toLocaleString("en")} questions`;
    document.getElementById("place").textContent = `page ${state.page + 1} of ${pages}`;
    document.getElementById("previous").disabled = state.page === 0;
    document.getElementById("next").disabled = state.page + 1 >= pages;
  };
  const select = () => {
    const wanted = state.search.trim().toLowerCase().split(/\s+/).filter(Boolean);
    state.page = 0;
    state.shown = [];
    data.rows.forEach((row, index) => {
      if (filters[state.filter](row) && wanted.every((word) => words[index].includes(word))) state.shown.push(index);
    });
    draw();
  };
  const turn = (by) => {
    state.page += by;
    draw();
    document.getElementById("questions").scrollIntoView();
  };
  document.getElementById("search").addEventListener("input", (event) => {
    state.search = event.target.value;
    select();
  });
  for (const button of document.querySelectorAll("button[data-filter]")) {
    button.addEventListener("click", () => {
      state.filter = button.dataset.filter;
      for (const other of document.querySelectorAll("button[data-filter]")) {
        other.setAttribute("aria-pressed", String(other === button));
      }
      select();
    });
  }
  document.getElementById("previous").addEventListener("click", () => turn(-1));
  document.getElementById("next").addEventListener("click", () => turn(1));
  select();
})();
