"""What an operator is told of, and by which way."""
