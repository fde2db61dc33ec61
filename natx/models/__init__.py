"""Networks beside and around the target: adversaries, companions, checkpoints, and the mode they are attacked in."""
