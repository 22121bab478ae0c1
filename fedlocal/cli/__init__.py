"""Command line: start, interrupt, resume and finish runs in their folders."""
