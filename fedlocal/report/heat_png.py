"""Picture heat.png: the maps of `fedlocal.report.heat_maps`, one beside the other."""

from math import ceil, isfinite
from pathlib import Path
from typing import Any

from fedlocal.report.heat_maps import HeatMap

IN_A_ROW = 4


def draw_heat(maps: list[HeatMap], metric: str, path: Path) -> None:
    """Draw the maps with one scale of colours; cells without a run stay empty."""
    from matplotlib.figure import Figure

    columns = min(IN_A_ROW, len(maps))
    rows = ceil(len(maps) / columns)
    wide, high = 1.4 + 0.7 * len(maps[0].columns), 1.2 + 0.5 * len(maps[0].rows)
    size = (max(3.2, wide) * columns + 1, max(2.4, high) * rows)
    figure = Figure(figsize=size, layout="constrained")
    grid: Any = figure.subplots(rows, columns, squeeze=False)
    values = [c.value for one in maps for row in one.cells for c in row if c and isfinite(c.value)]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    for plot in grid.flat[len(maps) :]:
        plot.axis("off")
    images = [_map(plot, one, low, high) for plot, one in zip(grid.flat, maps, strict=False)]
    figure.colorbar(images[0], ax=grid, label=metric, shrink=0.8)
    figure.savefig(path, dpi=110)


def _map(plot: Any, one: HeatMap, low: float, high: float) -> Any:
    values = [[cell.value if cell else float("nan") for cell in row] for row in one.cells]
    image = plot.imshow(values, cmap="viridis", vmin=low, vmax=high, aspect="auto")
    plot.set_xticks(range(len(one.columns)), one.columns)
    plot.set_yticks(range(len(one.rows)), one.rows)
    plot.set(xlabel=one.column_key, ylabel=one.row_key)
    # Long ones would reach into the next map.
    long = len(one.title) > 40
    plot.set_title(one.title.replace("  ", "\n") if long else one.title, fontsize="small")
    for i, row in enumerate(one.cells):
        for j, cell in enumerate(row):
            if cell:
                bright = isfinite(cell.value) and cell.value > (low + high) / 2
                dark = bright or not isfinite(cell.value)
                colour = "black" if dark else "white"
                plot.text(j, i, cell.text, ha="center", va="center", color=colour, fontsize="small")
    return image
