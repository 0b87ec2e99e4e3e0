"""What figures, tables and pages call things: one name each, the same everywhere."""

NAMES = {
    "zeros": "all black",
    "mean_image": "mean image",
    "position_mean": "mean image of the position",
    "nearest_training": "nearest training slice",
    "jpeg": "JPEG",
    "webp": "WebP",
    "avif": "AVIF",
    "png": "PNG",
    "pixelcnn": "PixelCNN",
    "gated": "Gated PixelCNN",
    "snail": "PixelSNAIL",
}
