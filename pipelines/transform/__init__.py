"""Pure functions, DataFrame in, DataFrame out: the rules of DESIGN 4. No clock, no path, no log (DESIGN 2).

The rules of derived tables collect with the in-memory engine: below a million rows that takes half the time of the
streaming one.
"""
