"""How parts make a text-to-image system: each is a module with a loss to train by and a way to draw."""
