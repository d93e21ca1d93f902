"""The renderer of mini-retrieval: drawn birds, fine-grained classes."""
