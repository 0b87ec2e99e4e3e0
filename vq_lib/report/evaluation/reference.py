"""What generated images are held against."""

import numpy as np

from vq_lib.data import findings
from vq_lib.layers.autoencoder import receptive_field
from vq_lib.scores import baselines, generation, memorisation, metrics

OWN = 640  # training slices that are held against each other


def people_known(study):
    """Whether it is known whose each slice is: else two scans, or two pictures, of one person may seem two people's."""
    return not any(found["check"] == "people unknown" and found["count"] for found in findings(study))


class Reference:
    """What generated images are held against: real test slices and their reconstructions, training slices, codes.

    All is computed once, for samples of several temperatures.

    Args:
        vqvae, codes: the model, and its codes of all slices. inputs, outputs: the test slices and their
            reconstructions.
        thresholds: of the tissues, see `generation.tissue_thresholds`.
        grain: a `Grain`.
    """

    def __init__(self, study, slices, vqvae, codes, inputs, outputs, thresholds, grain):
        test, train = slices.where("test"), slices.where("train")
        people = slices.person[test]
        self.people = people if np.unique(people).size > 1 else np.arange(len(test))
        self.thresholds, self.inputs, self.grain = thresholds, inputs, grain
        self.reconstructed = metrics.levels(outputs)
        self.real, self.blurred = generation.features(inputs), generation.features(self.reconstructed)
        field = receptive_field(study.recipe.section("vqvae")["encoder"])
        black = metrics.black_cells(inputs, codes.shape[1:], field)
        self.background = memorisation.background_code(codes[test], black)
        self.codes = codes[train]
        self.thumbnails = baselines.thumbnails(slices.images, rows=train)
        # Reconstructions, not slices: what comes out of the same decoder is as smooth as a sample.
        _, self.held_pixels = baselines.nearest(baselines.thumbnails(self.reconstructed), self.thumbnails)
        _, self.held_codes = memorisation.code_distances(codes[test], self.codes, self.background)
        self.held_runs = self.runs(codes[test])
        # The same of training people, each held against the others: samples are made after these. Drawn at random,
        # since every n-th slice of equal stacks can fall on a few positions.
        self.own = np.sort(np.random.default_rng(0).choice(train, min(OWN, len(train)), replace=False))
        groups = slices.person[self.own], slices.person[train]
        self.own_pixels, self.own_codes = np.full((2, len(self.own)), np.inf)
        apart = people_known(study)
        if apart:  # else another scan of one's own would count as another person's
            redrawn = baselines.thumbnails(metrics.levels(vqvae.decode(codes[self.own])))
            _, self.own_pixels = baselines.nearest(redrawn, self.thumbnails, groups)
            _, self.own_codes = memorisation.code_distances(codes[self.own], self.codes, self.background, groups)
        self.limits = {
            "pixels": memorisation.threshold(self.held_pixels, self.own_pixels),
            "codes": memorisation.threshold(self.held_codes, self.own_codes),
        }
        self.chance = memorisation.chance(len(self.own if apart else test))
        self.trained = np.asarray(slices.images[self.own]), groups[0]

    def neighbours(self, images, codes):
        """Nearest training slices of samples: `{pixel_index, pixel_distance, code_index, code_distance}`."""
        index, distance = baselines.nearest(baselines.thumbnails(images), self.thumbnails)
        nearest, share = memorisation.code_distances(codes, self.codes, self.background)
        return {"pixel_index": index, "pixel_distance": distance, "code_index": nearest, "code_distance": share}

    def runs(self, codes):
        """The longest run of codes that each grid shares with a training slice, see `memorisation.longest_runs`."""
        return memorisation.longest_runs(codes, self.codes, self.background)

    def suspects(self, near):
        """Which samples lie below the threshold of either distance: bool."""
        return (near["pixel_distance"] < self.limits["pixels"]) | (near["code_distance"] < self.limits["codes"])

    def failures(self, near):
        """Which samples are like no slice, and about them; see `memorisation.failures`."""
        return memorisation.failures(near["pixel_distance"], self.held_pixels, self.people)

    def closest(self, near):
        """How near each sample lies, in parts of the threshold, by the distance that is the smaller part.

        Returns:
            parts (n,), below 1 for the suspects alone, and the index of the training slice by that distance, (n,).
        """
        parts = np.stack([
            near["pixel_distance"] / max(self.limits["pixels"], 1e-9),
            near["code_distance"] / max(self.limits["codes"], 1e-9),
        ])  # fmt: skip
        by_codes = parts.argmin(axis=0).astype(bool)
        return parts.min(axis=0), np.where(by_codes, near["code_index"], near["pixel_index"])

    def anatomy(self, images):
        """Tissue shares and ventricle size of images, all by the rule of grey levels."""
        return generation.anatomy(generation.tissues(images, self.thresholds))
