"""Lightning data modules: images for growing zoos, vectors for training meta-models."""
