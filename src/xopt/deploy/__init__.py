"""Bundles as what servers of models read."""
