"""Text to pre-train on, and the records made from it."""
