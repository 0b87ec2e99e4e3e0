"""The model card beside published models: what they are, what they were trained on, how good they are, their limits."""

from vq_lib.plots.names import NAMES
from vq_lib.study import Study

TEMPLATE = """# {title}: the models

Written by `vq-lib report {name}` from `../metrics.json`; the whole story is in `../report.html`.

| file | what it is |
|---|---|
| `vqvae.keras` | VQ-VAE, {size}×{size} {colour} slices to {grid} codes of {codes}; {parameters:,} parameters |
{prior_row}
Float32, without optimizer state. `vq_lib.models.loading.load("vqvae.keras")` gives the Keras model, and runs no code
that a file names.

```sh
{commands}
```

**Trained on** {train} training people; {validation} others chose the epoch. {acknowledgement}

**Measured on** {test} test people, of whom no slice was trained on (95% intervals over people): SSIM {ssim},
foreground SSIM {foreground}, PSNR {psnr} dB; {usage:.1%} of the codes are used.{prior_bits}

**Not for** diagnosis, nor for any statement about a patient. A reconstruction can drop or invent small findings, and
other scanners, sequences, planes or preprocessing than the training slices' were not tried.
"""


def card(study: Study, metrics: dict, acknowledgement: str) -> str:
    """The card as Markdown, for a finished `study` with its `metrics.json` as a dict."""
    vqvae, prior, counts = metrics["vqvae"], metrics.get("prior"), metrics["data"]
    recipe = study.recipe
    side = recipe.data.size // recipe.vqvae.factor
    ssim, foreground = ("{mean:.3f} ({low:.3f}–{high:.3f})".format(**vqvae[key]) for key in ("ssim", "ssim_foreground"))
    commands = [f"vq-lib reconstruct --report {study.name} slice.png --out reconstructions"]
    prior_row = prior_bits = ""
    if prior:
        commands.append(f"vq-lib generate --report {study.name} -n 16 --out samples.png")
        prior_row = f"| `prior.keras` | {NAMES[prior['name']]} over the codes; {prior['parameters']:,} parameters |\n"
        prior_bits = (f" The prior needs {prior['bits_per_code']['test']:.2f} bits a code, where frequencies of each "
                      f"grid cell need {prior['baselines_bits_per_code']['position_unigram']:.2f}.")  # fmt: skip
    samples = metrics.get("samples", {})
    if "two_sample_auc" in samples:
        auc, decoded = (samples[name]["mean"] for name in ("two_sample_auc", "two_sample_auc_without_grain"))
        prior_bits += (f" A linear discriminant on coarse features (brightness, sharpness, power spectrum) tells "
                       f"{samples['count']} samples with grain from test slices with an AUC of {auc:.2f}, and samples "
                       f"as they are decoded with {decoded:.2f} (0.5: it finds no difference; another classifier may); "
                       f"{samples['memorised_fraction']:.1%} of them lie suspiciously near to a training slice, as up "
                       f"to {samples['memorised_by_chance']:.1%} of real slices of other people do.")  # fmt: skip
        if "failed_fraction" in samples:
            prior_bits += (f" {samples['failed_fraction']:.1%} failed: they lie farther from every training slice than "
                           "any test slice does.")  # fmt: skip
    return TEMPLATE.format(
        title=recipe.title, name=study.name, size=recipe.data.size,
        colour="colour" if recipe.data.channels == 3 else "grey", grid=f"{side}×{side}", codes=recipe.vqvae.codes,
        parameters=sum(vqvae["parameters"].values()), prior_row=prior_row, commands="\n".join(commands),
        acknowledgement=acknowledgement, ssim=ssim, foreground=foreground,
        psnr="{mean:.1f}".format(**vqvae["psnr"]), usage=vqvae["codebook_usage"], prior_bits=prior_bits,
        **{split: counts[split]["people"] for split in ("train", "validation", "test")},
    )  # fmt: skip
