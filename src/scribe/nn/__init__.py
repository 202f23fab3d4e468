"""Networks that are run without the library that trained them."""
