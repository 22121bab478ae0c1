// The nodes on a circle, a line for each link, an arrow head where it goes one way.
function graphs(data) {
  fill(element("graphs-which"), data.map((one, number) => [String(number), one.title]), "0");
  const show = () => {
    const one = data[Number(element("graphs-which").value)];
    element("graphs-caption").textContent = one.caption;
    const hidden = { visible: false, range: [-1.15, 1.15] };
    draw("graphs-chart", [links(one), ...heads(one), nodes(one)], {
      height: 520, width: 560, showlegend: false, hovermode: "closest", margin: { l: 10, r: 10, t: 45, b: 10 },
      title: { text: plain(one.title.split(",")[0]), font: { size: 14 } },
      xaxis: hidden, yaxis: { ...hidden, scaleanchor: "x" },
    });
  };
  element("graphs").hidden = false;
  element("graphs-which").addEventListener("change", show);
  show();
}

function links(one) {
  const along = (axis) => one.links.flatMap(([from, to]) => [one.nodes[from][axis], one.nodes[to][axis], null]);
  return { x: along(0), y: along(1), mode: "lines", hoverinfo: "skip",
    line: { color: one.links.length > 300 ? "#8b949e66" : "#8b949e", width: one.links.length > 300 ? 0.7 : 1.3 } };
}

function heads(one) {
  if (!one.directed || one.links.length > 300) return [];
  const places = one.links.map(([from, to]) => [one.nodes[from], one.nodes[to]]);
  const near = (axis) => places.map(([a, b]) => a[axis] + 0.8 * (b[axis] - a[axis]));
  // Plotly counts a marker's angle from the top, clockwise.
  const angle = places.map(([a, b]) => Math.atan2(b[0] - a[0], b[1] - a[1]) * 180 / Math.PI);
  return [{ x: near(0), y: near(1), mode: "markers", hoverinfo: "skip",
    marker: { symbol: "arrow", size: 9, angle, color: "#59636e" } }];
}

function nodes(one) {
  const few = one.nodes.length <= 60;
  const first = one.nodes.length - one.auxiliary;
  const names = one.nodes.map((_, n) => n < first ? String(n) : `z${n - first + 1}`);
  return { x: one.nodes.map((place) => place[0]), y: one.nodes.map((place) => place[1]),
    mode: few ? "markers+text" : "markers", text: names, hovertemplate: "%{text}<extra></extra>",
    textfont: { color: "#fff", size: 11 },
    marker: { size: few ? 22 : 5, color: one.nodes.map((_, n) => n < first ? COLOURS[0] : COLOURS[1]) } };
}
