"""The commands of `t2i`, each in a module of its own, so that one loads only what it needs."""
