"""Several methods side by side, with intervals."""
