"""The simulated world: a scheduler on greenlets, a virtual clock, a seeded network, whole rings and their checkers."""
