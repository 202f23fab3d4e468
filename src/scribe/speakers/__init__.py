"""Speaker verification: whose voice it is."""
