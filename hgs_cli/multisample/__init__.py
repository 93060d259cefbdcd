"""One instrument of many recordings: from what their names tell to the notes, and the one `.hgs` that keeps them."""
