"""Exactly once from files to files: a position file beside the checkpoints."""
