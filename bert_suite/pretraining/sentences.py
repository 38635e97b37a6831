"""Cuts lines of several sentences, or too long ones, into shorter lines."""

import re

_CLOSING = "\"')\\]}\u00bb\u2019\u201d\u300d\u300f\uff09\u3011\u300b\u3009"
# Full stops, exclamation and question marks, with the quotes and brackets that
# close behind them. In scripts that put no space between sentences, and in
# those that use the marks for nothing else, the mark alone ends a sentence.
_ENDS = re.compile(
    "[.!?\u2026]+[{0}]*\\s+(?=\\S)"
    "|[\u3002\uff01\uff1f\uff61\u0964\u0965\u06d4\u061f]+[{0}]*\\s*".format(
        _CLOSING))
_OPENING = "\"'([{\u00ab\u2018\u201c"

# Words that a full stop often follows without ending a sentence; single letters
# (initials) and words with a full stop inside (e.g.) need no entry.
_ABBREVIATIONS = frozenset("mr mrs ms dr prof st ste sr jr messrs mme mlle rev "
                           "hon gen col capt cpt lt sgt maj cmdr adm sen rep "
                           "gov pres supt vs cf al ca approx mt ft ph".split())
# The same, if a number follows: No. 5.
_BEFORE_NUMBERS = frozenset("no nos nr fig figs vol vols pp art sec ch eq "
                            "op".split())


def split_sentences(text):
  """Cuts a text where sentences end.

  A full stop does not end one after an abbreviation or an initial ("Dr. J.
  Smith"), inside a number ("3.14"), or if the text continues in lower case,
  unless all of it is in lower case.

  Args:
    text: str.

  Returns:
    list of str: the sentences, without the white space around them.
  """
  is_lower = text == text.lower()
  sentences, begin = [], 0
  for match in _ENDS.finditer(text):
    if _is_end(text, begin, match, is_lower):
      sentences.append(text[begin:match.end()].strip())
      begin = match.end()
  sentences.append(text[begin:].strip())
  return [sentence for sentence in sentences if sentence]


def _is_end(text, begin, match, is_lower):
  """Returns whether a match of _ENDS ends the sentence begun at `begin`."""
  mark = match.group().strip()
  if mark[0] not in ".!?\u2026":
    return True
  following = text[match.end():].lstrip(_OPENING)[:1]
  if following.islower() and not is_lower:
    return False
  if mark != ".":
    return True
  if text[match.start() - 1:match.start()].isspace():  # "he left . she stayed"
    return True
  word = (text[begin:match.start()].split() or [""])[-1]
  word = word.lstrip(_OPENING).lower()
  if following.isdigit() and word in _BEFORE_NUMBERS:
    return False
  return not (word in _ABBREVIATIONS or "." in word or
              len(word) == 1 and word.isalpha() and word.isascii())


def cut_tokens(tokens, longest, is_inner):
  """Cuts a sentence into parts of about the same length, between words.

  Args:
    tokens: list.
    longest: int. The most tokens that a part may have.
    is_inner: function of a token: does it belong to the word before it? Words
      that are longer than a part are cut too.

  Returns:
    list of list. Joined, they are `tokens`.
  """
  parts, begin = [], 0
  while len(tokens) - begin > longest:
    left = len(tokens) - begin
    end = begin + -(-left // -(-left // longest))
    while end > begin and is_inner(tokens[end]):
      end -= 1
    if end == begin:
      end = begin + longest
    parts.append(tokens[begin:end])
    begin = end
  parts.append(tokens[begin:])
  return parts
