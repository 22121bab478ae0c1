"""Construction of a run from its configuration, with one-line errors."""
