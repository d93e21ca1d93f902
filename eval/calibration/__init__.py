"""The weight of S_struct and the probability of an answer, calibrated on held-out data."""
