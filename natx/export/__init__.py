"""Export: weights for other programs, with a card."""
