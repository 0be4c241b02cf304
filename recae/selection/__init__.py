"""Choosing models: blends, budgets, tuning, and comparisons of tuned models with baselines."""
