"""Reading finished runs back: tables and curves."""
