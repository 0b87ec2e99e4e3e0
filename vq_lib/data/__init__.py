"""Images of people as arrays: adapters for each layout, the embedded cohort, the check and the cache.

An adapter is a file such as `oasis.py`, named in `cache.ADAPTERS`; it knows names and folders and opens no image.
"""

from vq_lib.data.cache import acknowledgement, check, load, opened
from vq_lib.data.slices import SPLITS, Slices

__all__ = ["SPLITS", "Slices", "acknowledgement", "check", "load", "opened"]
