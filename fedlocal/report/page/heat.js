// A final metric over two keys, one map for each setting of the others.
function heat(data) {
  fill(element("heat-metric"), data.metrics.map((one) => [one.key, one.label]), data.chosen);
  const show = () => {
    const metric = data.metrics.find((one) => one.key === element("heat-metric").value);
    heatMaps(data.maps[metric.key], metric.label);
  };
  element("heat").hidden = false;
  element("heat-metric").addEventListener("change", show);
  show();
}

function heatMaps(maps, label) {
  const titles = maps.map((map) => wrapped(map.title, 44));
  const lines = Math.max(...titles.map((title) => title.length));
  const each = Math.max(330, 110 + 64 * maps[0].columns.length);
  const across = Math.min(Math.max(1, Math.floor(1030 / each)), maps.length);
  const down = Math.ceil(maps.length / across);
  const high = 100 + 16 * lines + 44 * maps[0].rows.length;
  const width = Math.min(1180, 150 + across * each);
  const shape = { height: down * high + 60, width, annotations: [],
    margin: { l: 60, r: 90, t: 20 + 16 * lines, b: 50 },
    coloraxis: { ...range(maps), colorscale: "Viridis", colorbar: { title: { text: plain(label) }, thickness: 14 } } };
  const gap = { x: 80 / (width - 150), y: (85 + 16 * lines) / (down * high) };
  const traces = maps.flatMap((map, number) => {
    const [column, row] = [number % across, Math.floor(number / across)];
    const [wide, tall] = [(1 - gap.x * (across - 1)) / across, (1 - gap.y * (down - 1)) / down];
    const left = column * (wide + gap.x), top = 1 - row * (tall + gap.y);
    const n = number + 1;
    shape[`xaxis${n}`] = { type: "category", domain: [left, left + wide], anchor: `y${n}`,
      title: { text: plain(map.column_key) }, ticks: "", showgrid: false, categoryarray: map.columns };
    shape[`yaxis${n}`] = { type: "category", domain: [Math.max(0, top - tall), top], anchor: `x${n}`,
      title: { text: plain(map.row_key) }, ticks: "", showgrid: false, categoryarray: map.rows, autorange: "reversed", automargin: true };
    shape.annotations.push({ text: titles[number].join("<br>"), align: "left", x: left, y: top, xref: "paper", yref: "paper",
      xanchor: "left", yanchor: "bottom", showarrow: false });
    return heatTraces(map, n);
  });
  draw("heat-chart", traces, shape);
}

function range(maps) {
  const values = maps.flatMap((map) => map.cells.flat()).filter((cell) => cell && cell.value !== null);
  const [low, high] = [Math.min, Math.max].map((of) => of(...values.map((cell) => cell.value)));
  return high > low ? { cmin: low, cmax: high } : {};
}

function heatTraces(map, n) {
  const each = (of) => map.cells.map((row) => row.map((cell) => cell === null ? null : of(cell)));
  const place = { xaxis: `x${n}`, yaxis: `y${n}` };
  // A seed that diverged leaves no number to colour, and is not the same as no run.
  const lost = map.cells.flatMap((row, i) => row.flatMap((cell, j) =>
    cell !== null && cell.value === null ? [{ x: map.columns[j], y: map.rows[i], cell }] : []));
  return [
    { ...place, type: "heatmap", x: map.columns, y: map.rows, z: each((cell) => cell.value), coloraxis: "coloraxis",
      text: map.cells.map((row) => row.map((cell) => cell === null ? "" : cell.text)), texttemplate: "%{text}", customdata: each((cell) => plain(cell.about)),
      hovertemplate: "%{customdata}<extra></extra>", hoverongaps: false, xgap: 1, ygap: 1 },
    { ...place, type: "scatter", mode: "text", x: lost.map((one) => one.x), y: lost.map((one) => one.y),
      text: lost.map((one) => one.cell.text), hoverinfo: "skip", showlegend: false },
  ];
}
