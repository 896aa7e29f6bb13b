"""What is traded and how orders match. No I/O, no clock, no floats."""
