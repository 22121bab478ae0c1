// Every section that the data have something for.
function main() {
  element("about").textContent = DATA.about;
  element("shared").textContent = DATA.shared;
  for (const note of DATA.notes) {
    element("notes").append(Object.assign(document.createElement("li"), { textContent: note }));
  }
  if (DATA.curves.metrics.length) curves(DATA.curves);
  if (DATA.target) target(DATA.target);
  if (DATA.heat) heat(DATA.heat);
  if (DATA.partitions.length) partitions(DATA.partitions);
  if (DATA.graphs.length) graphs(DATA.graphs);
  element("groups-caption").textContent = DATA.groups.caption;
  table("groups-table", DATA.groups);
  table("runs-table", DATA.runs);
  document.documentElement.dataset.drawn = "yes";
}

main();
