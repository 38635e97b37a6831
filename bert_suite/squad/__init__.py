"""SQuAD: questions, windows, answers and their files."""
