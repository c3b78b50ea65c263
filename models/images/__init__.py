"""The way from a decoded image to the model input, and from a radius back to the image's units."""
