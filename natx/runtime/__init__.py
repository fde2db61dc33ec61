"""The machine, the clock and the dice: files, devices, progress, provenance, random numbers, precision, schedules."""
