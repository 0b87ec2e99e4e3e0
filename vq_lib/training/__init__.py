"""Training that can be stopped at any moment: batches, resume, callbacks, optimiser, device."""
