"use strict";
(() => {
  const result = JSON.parse(document.getElementById("result").textContent);

  // Tables: sort by a column, copy as CSV.
  const cellValue = (cell) => cell.dataset.value ?? cell.textContent.trim();
  const asNumber = (text) => (text === "" ? NaN : Number(text));

  const sortBy = (table, column, header) => {
    const falling = header.getAttribute("aria-sort") !== "descending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [cellValue(row.cells[column]), row]);
    const isNumeric = rows.every(([text]) => text === "" || !Number.isNaN(Number(text)));
    rows.sort(([left], [right]) => {
      if (!isNumeric) return falling ? right.localeCompare(left) : left.localeCompare(right);
      const [a, b] = [asNumber(left), asNumber(right)];
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
      return falling ? b - a : a - b;
    });
    body.append(...rows.map(([, row]) => row));
  };

  const csvField = (text) => {
    // A spreadsheet would run a text that starts like a formula.
    const safe = /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };

  const toCsv = (table) =>
    [table.tHead.rows[0], ...table.tBodies[0].rows]
      .map((row) =>
        [...row.cells].flatMap((cell) => (cell.dataset.csv ?? cellValue(cell)).split("\u001f"))
          .map(csvField).join(","))
      .join("\n") + "\n";

  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      button.addEventListener("click", () => sortBy(table, column, header));
      header.append(button);
    });
    const tools = document.createElement("div");
    tools.className = "tools";
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy as CSV";
    const status = document.createElement("span");
    status.setAttribute("role", "status");
    button.addEventListener("click", async () => {
      await copy(toCsv(table));
      status.textContent = "Copied.";
      setTimeout(() => (status.textContent = ""), 2500);
    });
    tools.append(button, status);
    table.closest(".scroll").before(tools);
  }

  // Heatmaps: the number under the pointer, with its error.
  const signed = (value) => (value > 0 ? "+" : "") + value.toPrecision(3).replace("-", "\u2212");

  for (const picture of document.querySelectorAll(".picture[data-matrix]")) {
    const matrix = result.affinity[Number(picture.dataset.matrix)];
    const cells = picture.querySelector('[id$="at-cells"]');
    const hint = document.createElement("div");
    hint.className = "hint";
    hint.hidden = true;
    picture.append(hint);
    const hide = () => (hint.hidden = true);
    picture.addEventListener("pointerleave", hide);
    picture.addEventListener("pointermove", (event) => {
      const box = cells.getBoundingClientRect();
      const count = matrix.order.length;
      const column = Math.floor(((event.clientX - box.left) / box.width) * count);
      const row = Math.floor(((event.clientY - box.top) / box.height) * count);
      if (row < 0 || column < 0 || row >= count || column >= count || row === column) return hide();
      const [source, target] = [matrix.order[row], matrix.order[column]];
      const value = matrix.values[source][target];
      const error = matrix.standard_error?.[source][target] ?? null;
      const number = document.createElement("b");
      number.textContent = value === null ? "not measured" : signed(value);
      const where = document.createElement("div");
      where.textContent = `${matrix.tasks[source]} \u2192 ${matrix.tasks[target]}`;
      const interval = document.createElement("div");
      if (value !== null && error !== null) {
        interval.textContent =
          `95 % interval ${signed(value - 1.96 * error)} to ${signed(value + 1.96 * error)}` +
          (Math.abs(value) < 2 * error ? ", within noise" : "");
      }
      hint.replaceChildren(number, where, interval);
      hint.hidden = false;
      const frame = picture.getBoundingClientRect();
      const left = event.clientX - frame.left + 14;
      hint.style.left = `${Math.max(0, Math.min(left, frame.width - hint.offsetWidth))}px`;
      hint.style.top = `${event.clientY - frame.top + 16}px`;
    });
  }

  // Choices: one of several panels at a time; without this script all are shown.
  for (const group of document.querySelectorAll("[data-choose]")) {
    const panels = [...group.querySelectorAll(":scope > [data-label]")];
    const bar = document.createElement("div");
    bar.className = "tabs";
    bar.setAttribute("role", "group");
    bar.setAttribute("aria-label", group.dataset.choose);
    const show = (chosen) => {
      panels.forEach((panel, at) => {
        panel.hidden = at !== chosen;
        bar.children[at].setAttribute("aria-pressed", String(at === chosen));
      });
    };
    panels.forEach((panel, at) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = panel.dataset.label;
      button.addEventListener("click", () => show(at));
      bar.append(button);
    });
    group.prepend(bar);
    show(0);
  }

  // The budget: one grouping at a time; without this script all are listed.
  for (const box of document.querySelectorAll("[data-budget]")) {
    const panels = [...box.querySelectorAll(":scope > [data-networks]")];
    const control = box.querySelector(".slider");
    const [slider, output] = [control.querySelector("input"), control.querySelector("output")];
    const show = () => {
      panels.forEach((panel, at) => (panel.hidden = at !== Number(slider.value)));
      output.textContent = panels[Number(slider.value)].dataset.networks;
      slider.setAttribute("aria-valuetext", output.textContent);
    };
    control.hidden = false;
    slider.max = String(panels.length - 1);
    slider.value = String(Math.max(0, panels.findIndex((panel) => "current" in panel.dataset)));
    slider.addEventListener("input", show);
    show();
  }

  addEventListener("beforeprint", () => {
    for (const each of document.querySelectorAll("details")) each.open = true;
  });

  // Pages of studies that run: reload, until the reader stops it.
  for (const line of document.querySelectorAll("[data-reload]")) {
    const timer = setTimeout(() => location.reload(), 1000 * Number(line.dataset.reload));
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Stop reloading";
    button.addEventListener("click", () => {
      clearTimeout(timer);
      line.textContent = "Study";
    });
    line.append(" ", button);
  }
})();
