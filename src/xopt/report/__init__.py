"""What a person looks at: one page from the JSON of evaluations, benches and sweeps."""
