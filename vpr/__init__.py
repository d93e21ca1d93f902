"""Visual place recognition: models, descriptors, caches, transport and re-ranking."""
