"""Fine-tuning in the paper's three phases, and sweeps over them."""
