"""The commands of `lei-exports`. Entry points: start.main (the console script), commands.app (all commands)."""
