"""Fine-tuning in the paper's three phases (to come)."""
