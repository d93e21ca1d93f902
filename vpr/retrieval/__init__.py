"""From descriptors to an order: search, re-ranking, pruning, fusion."""
