"""From image files to descriptors, and into a cache."""
