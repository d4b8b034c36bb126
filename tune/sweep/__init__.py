"""Intermediate tasks × target tasks × precisions × engines, in one resumable run."""
