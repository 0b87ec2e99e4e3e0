"""VQ-VAE, priors over codes, sampling, likelihood, saved models."""
