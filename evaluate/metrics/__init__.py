"""The metrics of XTREME, each as counts per example that a score is made of."""
