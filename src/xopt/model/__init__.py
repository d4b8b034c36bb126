"""A bundle, opened: texts in, the answers of the checkpoint's own library out."""
