"""xopt compiles multilingual encoders to INT8 engines and proves, language by language, what it cost."""

__version__ = "0.1.0"
