"""Run neural networks without importing the libraries that trained them."""
