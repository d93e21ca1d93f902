"""A procedural street world, ray-cast on the CPU: the scenery behind `datasets.mini_msls`."""
