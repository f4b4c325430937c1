"""Server settings, each option once."""
