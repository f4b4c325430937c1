"""What the server records. Knows no HTTP."""
