"""One round of a run: with a barrier or without, in time or late, and what it costs and shows."""
