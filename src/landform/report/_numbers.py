"""The numbers behind a figure, as a table that any program reads."""

from __future__ import annotations

import csv
import io
import math

from landform.report._figure import Figure
from landform.report._heat import HeatMap
from landform.report._panels import Panels
from landform.report._terrain import Terrain


def as_csv(figure: Figure | HeatMap | Panels | Terrain) -> str:
    """Write a figure's numbers: one row a point.

    Args:
        figure: the figure.

    Returns:
        CSV with a head; what is not a number stays empty.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    if isinstance(figure, HeatMap):
        table.writerow(["row", "column", figure.label])
        for name, row in zip(figure.y.names, figure.values, strict=True):
            table.writerows([name, column, _number(value)] for column, value in zip(figure.x.names, row, strict=True))
        return text.getvalue()
    if isinstance(figure, Terrain):
        table.writerow([figure.x.label, figure.y.label, figure.label])
        for alpha, row in zip(figure.alphas, figure.values, strict=True):
            table.writerows(
                [_number(alpha), _number(beta), _number(value)] for beta, value in zip(figure.betas, row, strict=True)
            )
        return text.getvalue()
    rows = figure.rows if isinstance(figure, Panels) else (figure,)
    several = isinstance(figure, Panels)
    table.writerow([*(["panel"] if several else []), "series", figure.x.label, "value", "low", "high"])
    for row in rows:
        for series in row.series:
            for i, (x, y) in enumerate(zip(series.x, series.y, strict=True)):
                band = ["" if edge is None else _number(edge[i]) for edge in (series.low, series.high)]
                table.writerow([*([row.title] if several else []), series.name, _number(x), _number(y), *band])
    return text.getvalue()


def _number(value: float) -> str:
    return f"{value:.8g}" if math.isfinite(value) else ""
