// Clients by classes, and what clients share.
function partitions(data) {
  fill(element("partitions-which"), data.map((one, number) => [String(number), one.label || "the only one"]), "0");
  const show = () => {
    const one = data[Number(element("partitions-which").value)];
    element("partitions-caption").textContent = one.caption;
    counts(one);
    element("partitions-shared").hidden = one.shared === null;
    if (one.shared !== null) shares(one);
  };
  element("partitions").hidden = false;
  element("partitions-which").addEventListener("change", show);
  show();
}

function counts(one) {
  const clients = { ...steps(one.total), title: { text: "client" }, automargin: true };
  const regression = one.counts[0].length === 1;
  const trace = regression
    ? { type: "bar", x: one.clients, y: one.counts.map((row) => row[0]) }
    : { type: "heatmap", y: one.clients, z: one.counts, colorscale: "Blues", reversescale: true, zmin: 0, zmax: Math.max(1, ...one.counts.flat()),
        colorbar: { title: { text: "examples" }, thickness: 14 }, xgap: 1, ygap: one.clients.length > 40 ? 0 : 1,
        text: one.counts.map((row) => row.map((count) => count || "")),
        texttemplate: one.counts.length * one.counts[0].length <= 200 ? "%{text}" : "",
        hovertemplate: "client %{y}, class %{x}: %{z} examples<extra></extra>" };
  draw("partitions-counts", [trace], {
    height: 440,
    title: { text: regression ? "examples of each client" : "examples of each class at each client", font: { size: 14 } },
    margin: { l: 60, r: 20, t: 45, b: 50 },
    xaxis: regression ? clients : { ...steps(one.counts[0].length), title: { text: "class" } },
    yaxis: regression ? { ...GRID, title: { text: "examples" } } : { ...clients, autorange: "reversed" },
  });
}

// Whole numbers, each of them where there are few.
function steps(count) {
  return { tickformat: "d", zeroline: false, showgrid: false, ...(count <= 20 ? { dtick: 1, tick0: 0 } : {}) };
}

function shares(one) {
  draw("partitions-shared", [{
    type: "heatmap", x: one.clients, y: one.clients, z: one.shared, zmin: 0, zmax: 1, colorscale: "Viridis",
    colorbar: { title: { text: "share" }, thickness: 14 },
    texttemplate: one.clients.length <= 12 ? "%{z:.2f}" : "",
    hovertemplate: "%{z:.3f} of the examples of client %{y}<br>are also at client %{x}<extra></extra>",
  }], {
    height: 440,
    title: { text: "share of the row's examples that the column holds too", font: { size: 14 } },
    margin: { l: 60, r: 20, t: 45, b: 50 },
    xaxis: { ...steps(one.total), title: { text: "client" } },
    yaxis: { ...steps(one.total), title: { text: "client" }, autorange: "reversed", automargin: true },
  });
}
