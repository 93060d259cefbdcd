"""The networks and the vocoder."""
