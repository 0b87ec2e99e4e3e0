"""The model card beside published models, from `reports/template/card.md.j2`."""

from typing import Any

from vq_lib.report import display
from vq_lib.report.metrics import Metrics
from vq_lib.study import Study


def card(study: Study, metrics: Metrics | dict[str, Any], acknowledgement: str) -> str:
    """The card as Markdown, for a finished `study` with its `metrics.json`."""
    document, recipe = Metrics.model_validate(metrics), study.recipe
    return display.templates(autoescape=False).get_template("card.md.j2").render(
        recipe=recipe, name=study.name, size=recipe.data.size, side=recipe.data.size // recipe.vqvae.factor,
        vqvae=document.vqvae, prior=document.prior, samples=document.samples, data=document.data,
        acknowledgement=acknowledgement,
    )  # fmt: skip
