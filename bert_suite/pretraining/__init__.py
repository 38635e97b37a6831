"""Text to pre-train on, and the records made of it."""
