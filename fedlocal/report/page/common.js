// What all sections use. Each one is a function of the data and draws into its own elements.
const DATA = JSON.parse(document.getElementById("data").textContent);
// The colours and dashes of curves.png.
const COLOURS = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd",
  "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"];
const DASHES = ["solid", "dash", "dot", "dashdot"];
const CONFIG = { responsive: true, displaylogo: false, toImageButtonOptions: { format: "svg" },
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]] };
const FONT = { family: "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif", size: 13 };
const GRID = { gridcolor: "#e6e8eb", zeroline: false, linecolor: "#8b949e", ticks: "outside", automargin: true };

const element = (id) => document.getElementById(id);
const colour = (number) => COLOURS[number % COLOURS.length];

// Plotly reads tags in its texts; labels come from the user.
function plain(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

// A long label over several lines.
function wrapped(text, most) {
  const lines = [];
  for (const part of text.split("  ")) {
    const longer = lines.length ? `${lines.at(-1)}  ${part}` : part;
    if (lines.length && longer.length <= most) lines[lines.length - 1] = longer;
    else lines.push(part);
  }
  return lines.map(plain);
}

function fill(select, options, chosen) {
  for (const [value, label] of options) {
    select.add(new Option(label, value, false, value === chosen));
  }
}

function layout(more) {
  return { font: FONT, paper_bgcolor: "#fff", plot_bgcolor: "#fff", margin: { l: 60, r: 20, t: 30, b: 50 }, ...more };
}

function draw(id, traces, shape) {
  Plotly.react(element(id), traces, layout(shape), CONFIG);
}

function table(id, content) {
  const head = content.columns.map((column) => {
    const cell = document.createElement("th");
    cell.textContent = column.label;
    cell.className = column.number ? "number" : "";
    return cell;
  });
  const body = document.createElement("tbody");
  const rows = content.rows.map((cells) => {
    const row = body.insertRow();
    cells.forEach((one, place) => {
      const cell = row.insertCell();
      cell.textContent = one.text;
      cell.className = content.columns[place].number ? "number" : "";
    });
    return { row, cells };
  });
  head.forEach((cell, place) => cell.addEventListener("click", () => {
    const up = cell.getAttribute("aria-sort") !== "ascending";
    head.forEach((other) => other.removeAttribute("aria-sort"));
    cell.setAttribute("aria-sort", up ? "ascending" : "descending");
    rows.sort((a, b) => compare(a.cells[place].value, b.cells[place].value, up));
    body.append(...rows.map((one) => one.row));
  }));
  const whole = document.createElement("table");
  const line = whole.createTHead().insertRow();
  line.append(...head);
  whole.append(body);
  element(id).className = "table";
  element(id).replaceChildren(whole);
}

// What has no value goes last, whichever way the rest is sorted.
function compare(a, b, up) {
  if (a === null || b === null) return (a === null) - (b === null);
  const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  return up ? order : -order;
}
