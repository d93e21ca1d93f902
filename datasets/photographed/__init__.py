"""Photographed surfaces for rendered streets, taken from game data packages of Debian."""
