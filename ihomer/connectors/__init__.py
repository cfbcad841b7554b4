"""Sources and sinks: the outside in, records out, and back. Knows no learner."""
