"""Characters, classified, lower-cased and decomposed as in Unicode 11.

So a text has the same ids on every version of Python.
"""

import functools
import re
import string
import unicodedata

# Ideographs, each a word of its own; kana, hangul and the rest are not.
_CJK_RANGES = (
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF),
    (0x2F800, 0x2FA1F))

# Characters that a later Unicode lower-cases, decomposes or classifies
# differently, and those between them, which Unicode 11 left unassigned or every
# version leaves as they are.
NEWER_THAN_UNICODE_11 = re.compile(
    "([\u055f\u061d\u0888-\u08d2\u0b55\u0c3c\u0c77\u0d81\u0eba\u0ece\u1715"
    "\u180f\u1abf-\u1ace\u1b7d-\u1b7e\u1dfa\u2c2f\u2c5f\u2e4f-\u2e5d"
    "\ua7ba-\ua7f6\ua82c\ua9bd\uab66-\uab6b\ufbc2\U00010570-\U000107ba"
    "\U00010eab-\U00010eff\U00010f82-\U00010f89\U00011070-\U00011074"
    "\U000110c2\U000111cf\U00011241\U0001145a\U000116b9\U00011938-\U000119e2"
    "\U00011b00-\U00011b09\U00011f00-\U00011fff\U00012ff1-\U00013455"
    "\U00016f4f\U00016fe2-\U0001affe\U0001cf00-\U0001cf46"
    "\U0001df00-\U0001df2a\U0001e030-\U0001e4ef\U0001e94b])")
_RECLASSED_SINCE_UNICODE_11 = {
    "\u055f": "Po", "\u166d": "Po", "\u1734": "Mn", "\ua9bd": "Mc"}


def category(char):
  """Returns the general category of a character in Unicode 11."""
  if char in _RECLASSED_SINCE_UNICODE_11:
    return _RECLASSED_SINCE_UNICODE_11[char]
  if NEWER_THAN_UNICODE_11.match(char):
    return "Cn"
  return unicodedata.category(char)


def is_whitespace(char):
  """Returns whether cleaning turns the character into a space."""
  return char in " \t\n\r" or category(char) == "Zs"


def is_control(char):
  """Returns whether cleaning drops the character as a control character."""
  return char not in "\t\n\r" and category(char) in ("Cc", "Cf")


def is_punctuation(char):
  """Returns whether it is punctuation; all ASCII symbols count as such."""
  return char in string.punctuation or category(char).startswith("P")


def is_cjk(char):
  """Returns whether the character is an ideograph."""
  return any(first <= ord(char) <= last for first, last in _CJK_RANGES)


def clean(char):
  """Returns what cleaning makes of a character; "" if it is dropped."""
  if char in "\0\ufffd" or is_control(char):
    return ""
  return " " if is_whitespace(char) else char


def _cut(char):
  """Does `clean`, with spaces around a character that is a word of its own."""
  if is_punctuation(char) or is_cjk(char):
    return " %s " % char
  return clean(char)


def change_and_cut(text, lower, strip):
  """Returns text cleaned and changed, with spaces to split at.

  Args:
    text: str.
    lower: bool, lower-case it.
    strip: bool, remove marks, such as accents.
  """
  text = "".join(map(clean, text))
  if strip:
    # Lower-casing a sigma skips marks, but not this one since Unicode 14.
    text = text.replace("\u1734", "")
  if lower:
    text = change_parts(str.lower, text)
  if strip:
    text = change_parts(decompose, text)
  return "".join(_cut(char) for char in text
                 if not (strip and category(char) == "Mn"))


decompose = functools.partial(unicodedata.normalize, "NFD")


def change_parts(change, text):
  """Applies a function of str to the parts of a text that Unicode 11 knows.

  Newer characters stay as they are; the function sees the parts between them.
  """
  parts = NEWER_THAN_UNICODE_11.split(text)
  parts[::2] = list(map(change, parts[::2]))
  return "".join(parts)


def strip_marks(text):
  """Returns text decomposed, without marks such as accents."""
  return "".join(char for char in change_parts(decompose, text)
                 if category(char) != "Mn")


def _change_and_cut_char(lower, strip, char):
  """Returns change_and_cut(char), or DEPENDS if neighbours may change that.

  They may change the capital sigma, which has two lower-case forms, and any
  text in which decomposing may reorder characters other than marks.
  """
  text = change_and_cut(char, lower, strip)
  if lower and char == "\u03a3" or (
      strip and any(map(unicodedata.combining, text))):
    return DEPENDS
  return text


class _CharTable(dict):
  """A table for str.translate, filled on demand, of up to 2 ** 16 entries."""

  def __init__(self, replace):
    super().__init__()
    self.replace = replace

  def __missing__(self, code):
    if len(self) >= 2 ** 16:
      self.clear()
    value = self[code] = self.replace(chr(code))
    return value


DEPENDS = "\0"  # which cleaning drops
CUT = _CharTable(_cut)
CHANGE_AND_CUT = {
    changes: _CharTable(functools.partial(_change_and_cut_char, *changes))
    for changes in ((True, True), (True, False), (False, True))}
