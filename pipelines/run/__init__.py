"""One run, step by step: what the assets, the terminal and the tests call. Ties the rooms together (DESIGN 3)."""
