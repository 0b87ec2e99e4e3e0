"""Notebooks 02 and 03 by hand: what they train, without what they show."""

import functools

import keras

from vq_lib.data.augment import augment
from vq_lib.models.build import prior_from, vqvae_from
from vq_lib.models.prior import code_lengths
from vq_lib.training.batches import Batches
from vq_lib.training.callbacks import KMeansStart, RestartDeadCodes, Scores
from vq_lib.training.finished import load_vqvae, prior_identity, vqvae_identity
from vq_lib.training.optimizer import optimizer, policy
from vq_lib.training.resume import Resume


def train_vqvae(study, slices):
    """The VQ-VAE of a study: model, codes and its `Resume`."""
    recipe, augmentation = study.recipe.vqvae, study.recipe.data.augment
    keras.utils.set_random_seed(recipe.seed)
    change = functools.partial(augment, **augmentation.model_dump()) if augmentation else None
    batches = Batches(slices.images, slices.where("train"), recipe.batch, recipe.seed, change=change)
    model = vqvae_from(recipe, slices.image_shape, batches.variance, policy(recipe.precision))
    model.compile(optimizer(recipe, len(batches)))
    held_out = slices.where("validation")
    resume = Resume(study.vqvae, batches, recipe.minutes, recipe.patience, vqvae_identity(study, slices))
    start = [KMeansStart(batches)] if recipe.start == "kmeans" else []
    model.fit(batches, validation_data=Batches(slices.images, held_out, 64), epochs=recipe.epochs,
              initial_epoch=resume.restore(model), verbose=0,
              callbacks=[*start, RestartDeadCodes(batches, recipe.restart), Scores(slices.images, held_out), resume],
              )  # fmt: skip
    model, arrays = resume.finish(model, codes=lambda model: model.encode(slices.images))
    return model, arrays["codes"], resume


def train_priors(study, slices):
    """Every prior of a study, the main one first: `{name: (model, lengths, Resume)}`."""
    vqvae, codes, made = load_vqvae(study, slices)
    rows = {split: slices.where(split) for split in ("train", "validation", "test")}
    trained = {}
    for name, settings in study.recipe.prior.models().items() if study.recipe.prior else ():
        labels, positions, condition = slices.conditions(settings.condition)
        keras.utils.set_random_seed(settings.seed)
        size, precision = vqvae.quantizer.num_embeddings, policy(settings.precision)
        prior = prior_from(settings, vqvae.levels, size, labels, positions, precision)
        inputs = (codes, condition) if settings.condition else codes
        batches = Batches(inputs, rows["train"], settings.batch, settings.seed, codes)
        prior.compile(optimizer(settings, len(batches)), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        wanted = prior_identity(study, name, made["key"])
        resume = Resume(study.prior / name, batches, settings.minutes, settings.patience, wanted)
        prior.fit(batches, validation_data=Batches(inputs, rows["validation"], 64, targets=codes), verbose=0,
                  epochs=settings.epochs, initial_epoch=resume.restore(prior), callbacks=[resume])  # fmt: skip
        prior, arrays = resume.finish(prior, lengths=lambda model, told=condition: {
            split: code_lengths(model, codes[some], told[some]) for split, some in rows.items()
        })  # fmt: skip
        trained[name] = prior, arrays["lengths"], resume
    return trained
