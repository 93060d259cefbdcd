"""What a note is made of: the moved recording, the level wanted at a pitch, and the voices that fill what it lacks."""
