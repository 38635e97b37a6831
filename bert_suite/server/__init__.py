"""A model behind HTTP: requests, batches of them, answers, figures."""
