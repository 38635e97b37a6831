"""Vocabularies: words counted, pieces learnt, models given more words."""
