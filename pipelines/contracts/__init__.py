"""What each table is: columns, dtypes, key, grain, order, a description per column. No data flows here."""
