"""What is kept: tables and their migrations; nothing outside this room knows SQL."""
