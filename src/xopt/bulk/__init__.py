"""A file of texts to a file of answers, in bounded memory, on one machine or a Ray cluster."""
