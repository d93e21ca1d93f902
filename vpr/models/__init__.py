"""Networks: the NetVLAD teacher and the structural student."""
