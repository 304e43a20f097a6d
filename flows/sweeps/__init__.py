"""Ways of drawing with one trained run: each is evaluated, and all are compared."""
