"""Detectors of drift: numbers in, alarms out. Knows no learner and no stream."""
