"""Tests of sentences: where a text is cut, and that nothing is lost."""

import pytest

from bert_suite.pretraining import sentences


@pytest.mark.parametrize("parts", [
    ["Tea is near.", "It rains!", "Why?", "Because."],
    ["Dr. J. Smith met Mr. Brown of St. Ives.", "He left."],
    ["It costs $3.50 or 1,000.75 in all.", "See No. 5 and Fig. 2 for e.g. A."],
    ["\"Is it far?\" she asked.", "\"No.\"", "'Go!'", "(He went.)", "[End.]"],
    ["The U.S. Army came at 5 p.m. on Monday.", "Then...", "Nothing?!"],
    ["Wait... what is it?", "3 cats."],
    ["he left .", "she stayed .", "all of it is in lower case!", "yes."],
    ["\u4ed6\u6765\u4e86\u3002", "\u4f60\u597d\u5417\uff1f",
     "\u201c\u5f88\u597d\uff01\u201d", "\u518d\u89c1"],
    ["\u0648\u06c1 \u0622\u06cc\u0627\u06d4", "\u06a9\u06cc\u0627\u061f",
     "\u0939\u093e\u0901\u0964", "\u0920\u0940\u0915"],
    ["no mark at all"],
])
def test_sentences_are_found(parts):
  for space in (" ", "  \t"):
    assert sentences.split_sentences(space.join(parts)) == parts
  without = "".join(parts)  # where marks need no space behind them
  if parts[0][-1] in "\u3002\u06d4":
    assert sentences.split_sentences(without) == parts


def test_no_letter_is_lost():
  text = "A.B! c? D... (e.) \u3002\u3002 f.\u201d G" * 20
  found = "".join(sentences.split_sentences(text))
  assert found.replace(" ", "") == text.replace(" ", "")
  assert sentences.split_sentences(" ") == []


@pytest.mark.parametrize("words,longest,lengths", [
    ([1] * 10, 10, [10]), ([1] * 11, 10, [6, 5]), ([1] * 25, 10, [9, 8, 8]),
    ([3] * 5, 7, [3, 6, 6]),  # words of three tokens
    ([9, 1], 4, [4, 4, 2]),  # one that is longer than a part
    ([1], 1, [1])])
def test_parts_end_where_words_do(words, longest, lengths):
  tokens = [place for size in words for place in range(size)]
  parts = sentences.cut_tokens(tokens, longest, lambda token: token > 0)
  assert sum(parts, []) == tokens
  assert [len(part) for part in parts] == lengths
