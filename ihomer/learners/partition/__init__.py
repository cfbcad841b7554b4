"""Partitioners: label sets in, clusters of labels that occur together out."""
