"""Results of many runs in one database, and the steps in them."""
