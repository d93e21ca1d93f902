"""Maps of own photos with positions, and photos located on them."""
