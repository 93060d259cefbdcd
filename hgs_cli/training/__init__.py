"""Data, stages and the loop that make the weights; only the train commands import this."""
