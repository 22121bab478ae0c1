"""The round: client and server halves, participation, deadlines, costs, evaluation."""
