"""What is evaluated: a retrieval set with its protocol. MSLS is one; a set of places is another."""
