"""How fast notes are made: every stage, batches, whole calls, other programs, and where the time goes."""
