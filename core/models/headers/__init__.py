"""Headers of model files: read from a file here or, by parts, from one elsewhere."""
