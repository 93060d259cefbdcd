"""The tables of quality: what is rendered, measured against recordings and against other ways to do it."""
