"""The weight of S_struct and the probability of an answer, fixed on held-out data."""
