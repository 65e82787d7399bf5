"""What matters and how much: data with a schema. Imports nobody."""
