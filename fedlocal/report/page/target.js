// What it took to reach the target, a bar per group; one that never did has none.
function target(data) {
  fill(element("target-cost"), data.costs.map((one) => [one.key, one.label]), "rounds");
  element("target-caption").textContent = data.caption;
  table("target-table", data.table);
  const show = () => {
    const cost = data.costs.find((one) => one.key === element("target-cost").value);
    draw("target-chart", bars(data.groups, cost.key), {
      height: 90 + data.groups.reduce((sum, group) => sum + 12 + 16 * named(group).length, 0),
      annotations: data.groups.filter((group) => group[cost.key] === null).map(missing),
      xaxis: { ...GRID, title: { text: cost.label }, rangemode: "tozero" },
      yaxis: { automargin: true, autorange: "reversed", type: "category", ticks: "outside", ticklen: 6, tickcolor: "#fff" },
    });
  };
  element("target").hidden = false;
  element("target-cost").addEventListener("change", show);
  show();
}

function named(group) {
  return wrapped(group.label, 60);
}

function bars(groups, key) {
  return [{
    type: "bar",
    orientation: "h",
    y: groups.map((group) => named(group).join("<br>")),
    x: groups.map((group) => group[key]),
    error_x: { type: "data", array: groups.map((group) => group[`${key}_std`] || undefined), color: "#59636e", thickness: 1.2 },
    marker: { color: groups.map((_, number) => colour(number)) },
    customdata: groups.map((group) => `${group.reached} of ${group.n}`),
    hovertemplate: "%{x:.4g}, reached by %{customdata}<extra></extra>",
  }];
}

function missing(group) {
  const reason = group.reached ? "not known under this clock" : "not reached";
  return { x: 0, y: named(group).join("<br>"), text: reason, showarrow: false, xanchor: "left", xshift: 4,
    font: { color: "#59636e", size: 12 } };
}
