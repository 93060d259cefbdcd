"""Instruments as samplers read them: SFZ, DecentSampler, SoundFont, and chunks inside sound files."""
