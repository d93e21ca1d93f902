"""Studies of patches: similarity by depth, and semantic correspondence."""
