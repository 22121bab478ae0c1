// Mean over seeds with its band, two metrics side by side along one axis.
function curves(data) {
  const names = data.metrics.map((one) => [one.key, one.label]);
  fill(element("curves-axis"), data.axes.map((one) => [one.key, one.label]), "rounds");
  fill(element("curves-left"), names, names[0][0]);
  fill(element("curves-right"), [["", "nothing"], ...names], names.length > 1 ? names[1][0] : "");
  element("curves-caption").textContent = data.caption;
  const show = () => {
    const axis = data.axes.find((one) => one.key === element("curves-axis").value);
    const chosen = ["left", "right"].map((side) => element(`curves-${side}`).value).filter((key) => key);
    const panels = chosen.map((key) => data.metrics.find((one) => one.key === key));
    const traces = panels.flatMap((metric, panel) => data.groups.flatMap(
      (group, number) => lines(group, number, metric.key, axis.key, panel)));
    draw("curves-chart", traces, curveLayout(panels, axis, data.groups));
  };
  element("curves").hidden = false;
  element("curves").addEventListener("change", show);
  show();
}

function lines(group, number, metric, axis, panel) {
  const one = group.series[metric];
  if (!one || !one.x[axis]) return [];
  const x = one.x[axis];
  const place = { x, xaxis: `x${panel + 1}`, yaxis: `y${panel + 1}`, legendgroup: group.label };
  const band = one.deviation.length ? edges(one, place, number) : [];
  const name = group.n > 1 ? `${group.label}  (n=${group.n})` : group.label;
  return [...band, {
    ...place,
    y: one.mean,
    customdata: one.deviation.map((width) => ` ± ${width === null ? "" : width.toPrecision(2)}`),
    name: plain(name),
    showlegend: panel === 0,
    mode: x.length < 20 ? "lines+markers" : "lines",
    line: { color: colour(number), width: 2, dash: DASHES[Math.floor(number / COLOURS.length) % DASHES.length] },
    marker: { size: 5 },
    hovertemplate: `%{y:.4g}${one.deviation.length ? "%{customdata}" : ""}<extra>${plain(group.label)}</extra>`,
  }];
}

function edges(one, place, number) {
  const side = (sign) => one.mean.map(
    (mean, at) => mean === null || one.deviation[at] === null ? null : mean + sign * one.deviation[at]);
  const edge = { ...place, mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false };
  return [
    { ...edge, y: side(-1) },
    { ...edge, y: side(1), fill: "tonexty", fillcolor: `${colour(number)}33` },
  ];
}

function curveLayout(panels, axis, groups) {
  const type = (id) => element(id).checked ? "log" : "linear";
  const [high, below] = [340, 66];
  const longest = Math.max(...groups.map((group) => group.label.length + 8));
  const across = Math.max(1, Math.floor(1050 / (8 * longest + 45)));
  const legend = groups.length > 1 ? 20 * Math.ceil(groups.length / across) + 10 : 0;
  const shape = { hovermode: "x", showlegend: groups.length > 1, height: 30 + high + below + legend,
    margin: { l: 60, r: 20, t: 30, b: below + legend },
    legend: { orientation: "h", x: 0, y: -below / high, yanchor: "top", maxheight: legend + 20,
      entrywidth: 8 * longest, entrywidthmode: "pixels", tracegroupgap: 0 } };
  panels.forEach((metric, panel) => {
    const half = panels.length === 1 ? [0, 1] : [[0, 0.46], [0.54, 1]][panel];
    shape[`xaxis${panel + 1}`] = { ...GRID, domain: half, anchor: `y${panel + 1}`,
      title: { text: plain(axis.label) }, type: type("curves-log-x") };
    shape[`yaxis${panel + 1}`] = { ...GRID, anchor: `x${panel + 1}`,
      title: { text: plain(metric.label) }, type: type("curves-log-y") };
  });
  return shape;
}
