"""Vocabularies: counting words, learning pieces, adding words to models."""
