"""Training: from a config to weights."""
