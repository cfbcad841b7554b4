"""Compiled functions on plain arrays, nothing else."""
