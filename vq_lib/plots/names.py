"""What figures, tables and pages call things: one name each, the same everywhere."""

NAMES = {
    "zeros": "all black", "mean_image": "mean image", "position_mean": "mean image of the position",
    "nearest_training": "nearest training slice",
    "jpeg": "JPEG", "webp": "WebP", "avif": "AVIF", "jxl": "JPEG XL", "png": "PNG",
    "pixelcnn": "PixelCNN", "gated": "Gated PixelCNN", "snail": "PixelSNAIL",
    "fixed_length": "fixed-length codes", "prior": "with the prior",
}  # fmt: skip
LAYOUTS = {"cohort": "synthetic people", "oasis": "OASIS-1", "adni": "ADNI", "volumes": "volumes",
           "slices_nifti": "NIfTI slices", "image_folder": "folder of images"}  # fmt: skip


def named(key: str) -> str:
    """The name of what `NAMES` knows; anything else is called what it is."""
    return NAMES.get(key, key)


def rated(bits_per_pixel: float) -> str:
    """Bits per pixel as text: a rate below 0.1 keeps three digits."""
    return f"{bits_per_pixel:.{2 if bits_per_pixel >= 0.1 else 3}f}"
