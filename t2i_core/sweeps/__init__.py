"""Ways of drawing with one trained run or system: which is best, and which is as good and faster."""
