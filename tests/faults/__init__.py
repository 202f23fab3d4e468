"""The numbered cases of what goes wrong, A1 to I4, each proven through the door."""
