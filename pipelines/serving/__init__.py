"""The published snapshot over HTTP, for the application and its users: nothing here touches PostgreSQL or writes."""
