"""From the configuration to the objects of a run, or to one line that says why not."""
