"""Bundles as an HTTP service: one process, requests of all connections joined into batches."""
