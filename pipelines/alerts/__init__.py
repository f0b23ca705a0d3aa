"""What is reported to an operator, and how."""
