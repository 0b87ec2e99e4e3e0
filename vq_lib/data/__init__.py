"""Images of people as arrays: adapters for each layout, the embedded cohort, checks, splits and the cache.

An adapter is a file such as `oasis.py`, named in `layouts.ADAPTERS`; it knows names and folders and opens no file.
"""

from vq_lib.data.cache import acknowledged, acknowledgement, check, findings, load, opened, people, summary
from vq_lib.data.slices import SPLITS, Slices

__all__ = ["SPLITS", "Slices", "acknowledged", "acknowledgement", "check", "findings", "load", "opened", "people",
           "summary"]  # fmt: skip
