"""Batches, checkpoints, callbacks, optimiser."""
