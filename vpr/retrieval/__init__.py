"""From descriptors to rankings: search, re-ranking, pruning, fusion."""
