"""Tasks of the intake queue: decode an image, unpack an archive."""
