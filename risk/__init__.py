"""Who can afford it and what it is worth. No I/O, no clock, no floats."""
