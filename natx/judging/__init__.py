"""Judging: from a config and a checkpoint to a report."""
