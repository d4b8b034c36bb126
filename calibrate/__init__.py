"""Multilingual corpora, observers, ranges and SmoothQuant."""
