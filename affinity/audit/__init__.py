"""Retraining a plan beside its baselines, and what that shows."""
