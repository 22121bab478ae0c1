"""A local step as a list of tensor operations: recorded, made shorter, and run by some program."""
