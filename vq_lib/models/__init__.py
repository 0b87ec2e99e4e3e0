"""Keras models: the VQ-VAE, the priors over its codes, sampling from them, and their files."""

import logging

# Several models that each run once for the first time look to TensorFlow like one that is traced again and again.
logging.getLogger("tensorflow").addFilter(lambda record: "retracing" not in record.getMessage())
