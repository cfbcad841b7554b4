"""The estimator and its parts: batches in, predictions out. Knows no connector and no stream."""
