"""Keras layers: quantisers, masked convolutions, blocks; they know nothing else of this library."""
