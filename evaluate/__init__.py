"""XTREME tasks, metrics, retention, throughput and reports."""
