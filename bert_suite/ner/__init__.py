"""What run_ner is made of: files, tags, windows, head, scores, results."""
