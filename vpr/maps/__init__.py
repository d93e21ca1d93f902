"""Maps of own photos with positions, and locating other photos on them."""
