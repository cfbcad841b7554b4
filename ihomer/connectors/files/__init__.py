"""Files as sources and sinks: JSON Lines and ARFF, plain or gzip."""
