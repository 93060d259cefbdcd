"""The sample rate at which hgs hears and plays; by itself, so that the command line knows it without loading torch."""

SAMPLE_RATE = 44_100
