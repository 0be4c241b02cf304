"""How each model gets its parameters."""
