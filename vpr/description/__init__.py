"""From image files to descriptors in a cache."""
