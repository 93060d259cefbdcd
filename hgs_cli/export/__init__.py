"""Written notes as samplers and listeners take them, one file per format."""
