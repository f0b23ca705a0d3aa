"""Servers to compare with, run by an environment of their own (peers.lock): nothing of this project is imported."""
