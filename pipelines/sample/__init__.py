"""The embedded PostgreSQL with sample data, and the loader of CSV files. What an operator has without a database."""
