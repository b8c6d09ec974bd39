"""References of the coalition-choice game."""
