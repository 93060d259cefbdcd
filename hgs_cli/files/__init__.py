"""Files on a disk: whole or not at all, held by one process, and what they are; nothing heavy is imported."""
