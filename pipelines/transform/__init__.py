"""Pure functions, DataFrame in, DataFrame out: the rules of DESIGN 4. No clock, no path, no log (DESIGN 2)."""
