"""The page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from landform.errors import try_import
from landform.report._draw import describe
from landform.report._facts import facts, number
from landform.report._material import Drawn, Material
from landform.report._numbers import as_csv
from landform.report._panels import Panels
from landform.report._study_page import StudyMaterial
from landform.report._style import DARK, LIGHT
from landform.studies import Claim


def check_installed() -> None:
    """Say what is missing before work begins.

    Raises:
        BadInput: when the ``report`` extra is not installed.
    """
    for module in ("jinja2", "plotly", "matplotlib"):
        try_import(module, "report")


def page(material: Material, described: Sequence[Drawn]) -> str:
    """Write the page about a run.

    Args:
        material: what was measured.
        described: the figures.

    Returns:
        HTML.
    """
    return render("page.html", described, material=material, facts=facts(material), settings=material.settings)


def study_page(material: StudyMaterial) -> str:
    """Write the page about a study.

    Args:
        material: what was found.

    Returns:
        HTML.
    """
    values = {claim.id: claim_value(claim) for claim in material.claims}
    others = {
        name: {key: claim_value(claim) for key, claim in each.items()} for name, each in material.controls.items()
    }
    return render(
        "study.html",
        material.figures,
        material=material,
        values=values,
        control_values=others,
        settings=material.settings,
    )


def claim_value(claim: Claim) -> str:
    """Write what was measured for a claim.

    Args:
        claim: the claim.

    Returns:
        The number, with its interval where there is one.
    """
    if claim.value is None:
        return "-"
    share = "%" in claim.expected

    def text(value: float) -> str:
        return f"{value:.0%}" if share else f"{value:.2f}"

    if claim.interval is None:
        return text(claim.value)
    return f"{text(claim.value)} ({text(claim.interval[0])} to {text(claim.interval[1])})"


def render(template: str, described: Sequence[Drawn], *, settings: Mapping[str, Any], **more: Any) -> str:
    """Fill a template.

    Args:
        template: its name.
        described: the figures.
        settings: what was trained, in groups.
        **more: what else the template asks for.

    Returns:
        HTML.
    """
    import jinja2

    def read(name: str) -> str:
        return files("landform.report").joinpath(name).read_text(encoding="utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(read),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(template).render(
        settings={name: _texts(group) for name, group in settings.items()},
        figures=described,
        # Only these have a time axis of which there are two versions.
        switched={figure.name for figure in described if isinstance(figure, Panels) and figure.x.scale == "log"},
        drawn=_for_script({figure.name: describe(figure) for figure in described}),
        numbers=_for_script({figure.name: as_csv(figure) for figure in described}),
        palette=_for_script({"light": LIGHT, "dark": DARK}),
        library=_library() if described else "",
        **more,
    )


def _texts(group: Mapping[str, Any]) -> dict[str, str]:
    return {name.replace("_", " "): _text(value) for name, value in group.items()}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and math.isfinite(value):
        return number(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _library() -> str:
    """The source of plotly.js, which plotly's own package brings; put into the page once."""
    from plotly.offline import get_plotlyjs

    source: str = get_plotlyjs()
    return source.replace("</script", "<\\/script")


def _for_script(content: Any) -> str:
    """JSON that can stand in a script element, whatever text is in it."""
    return json.dumps(content, allow_nan=False).replace("<", "\\u003c").replace("\u2028", "\\u2028")
