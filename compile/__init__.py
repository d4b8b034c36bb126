"""Checkpoint → Graph → LoweredGraph → Bundle."""
