"""Compile multilingual encoders to INT8 engines, and prove per language what it cost."""

__version__ = "0.1.0"
