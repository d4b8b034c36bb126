"""Checkpoints and bundles as what other tools read."""
