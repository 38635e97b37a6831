"""Tables of text: tab-separated values, and common mistakes in them."""

import codecs
import csv
import itertools
import math
import re

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import gzip_files

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?$")
_ENDS_OF_SENTENCES = tuple(".!?\u3002\uff01\uff1f")
_LONGEST_NAME = 4  # words of a column's name; "#1 String" has two
_END = "end"


class TsvRow(list):
  """The columns of a row; the error for a missing one says where."""

  def __init__(self, columns, path, number):
    super().__init__(columns)
    self.number = number
    self.where = "%s, row %d" % (path, number)

  def __getitem__(self, index):
    try:
      return super().__getitem__(index)
    except IndexError:
      found = ("%d tab-separated column(s)" % len(self)
               if "".join(self).strip() else "a blank line")
      raise ValueError("%s: found %s, expected at least %d columns%s" % (
          self.where, found, index + 1 if index >= 0 else -index,
          separator_hint(self) or "; correct or remove the row")) from None


def separator_hint(row):
  """Returns advice if a row seems to have another separator, else "".

  Args:
    row: list of str.
  """
  text = "".join(row)
  if len(row) != 1 or not text.strip():
    return ""
  for separator, name in ((",", "commas"), (";", "semicolons")):
    if separator in text:
      return ("; the row has %s and no tab: if the file is a .csv, save it "
              "with tabs between the columns" % name)
  return ""


def read_tsv(path, quotechar=None):
  """Reads tab-separated values.

  Args:
    path: str. The file may be gzip, whatever its name is.
    quotechar: str. Character around columns that contain tabs or line breaks,
      or None.

  Returns:
    list of TsvRow, with the header; the number of a row is that of the line
    where it begins. A byte order mark and blank lines at the end are left out.

  Raises:
    ValueError: a line is not UTF-8 or its quotes are wrong, or a gzip file is
      damaged.
  """
  with tf.gfile.GFile(path, "rb") as reader:
    content = gzip_files.unpacked(reader, path).read()
  if content.startswith(codecs.BOM_UTF8):
    content = content[len(codecs.BOM_UTF8):]
  # Only "\n" ends a line: sentences may contain other Unicode separators.
  lines = content.split(b"\n")
  while lines and not lines[-1].strip():
    lines.pop()
  texts = _decode(lines, path)
  if quotechar is None:
    return [TsvRow(text.split("\t"), path, number)
            for number, text in enumerate(texts, 1)]
  return _parse_quoted(texts, path, quotechar)


def _decode(lines, path):
  """Yields lines, bytes, as str; raises ValueError for one not in UTF-8."""
  for number, line in enumerate(lines, 1):
    try:
      yield line.rstrip(b"\r").decode("utf-8")
    except UnicodeDecodeError as error:
      raise ValueError("%s, row %d: byte %d is not UTF-8; save the file as "
                       "UTF-8" % (path, number, error.start + 1)) from None


def _parse_quoted(texts, path, quotechar):
  """Returns the rows, list of TsvRow, of lines in which columns are quoted."""
  # This last line becomes a separate row unless a quote is still open.
  lines = (text + "\n" for text in itertools.chain(texts, [_END]))
  reader = csv.reader(lines, delimiter="\t", quotechar=quotechar)
  rows, number = [], 1
  try:
    for columns in reader:
      rows.append(TsvRow(columns, path, number))
      number = reader.line_num + 1
  except csv.Error as error:
    cause = "%s; is a quote (%s) not closed?" % (error, quotechar)
    if "new-line character" in str(error):
      cause = ("found a carriage return outside quotes (%s); remove it, or put "
               "the column in quotes" % quotechar)
    raise ValueError("%s, row %d: %s" % (path, number, cause)) from None
  last = rows.pop()
  if last != [_END]:
    raise ValueError("%s: a quote (%s) that opens in this row is not closed; "
                     "close it, or remove it" % (last.where, quotechar))
  return rows


def warn_of_first_row(rows, texts, label=None, labels=()):
  """Warns of a first row that is not a header, and of rows longer than it.

  Args:
    rows: list of TsvRow, or of list of str; the first is read as a header.
    texts: list of int. The columns with texts.
    label: int. The column with the label; None if there is none.
    labels: list of str. All labels.
  """
  if not rows:
    return
  first = list(rows[0])
  if _looks_like_data(first, texts, label, labels):
    tf.logging.warning("%s: looks like data, but is taken for a header and "
                       "left out; add a header to the file", _where(rows[0]))
  longer = [row for row in rows[1:] if "".join(row[len(first):]).strip()]
  if longer:
    tf.logging.warning(
        "%s: found %d columns, but the header has %d: if a text has tabs, "
        "remove them, since what follows one is in the wrong column%s",
        _where(longer[0]), len(longer[0]), len(first),
        " (%d more such rows)" % (len(longer) - 1) if len(longer) > 1 else "")


def find_column(rows, name, position=None):
  """Returns the index of a column.

  Args:
    rows: list of TsvRow, or of list of str; the first is the header.
    name: str. The column's name in the header, in upper or lower case.
    position: int. Its index in files whose header has another name; None if
      there are no such files.

  Raises:
    ValueError: the table has no such column.
  """
  header = rows[0]
  names = [column.strip().lower() for column in header]
  if name.lower() in names:
    return names.index(name.lower())
  if position is None or all(len(row) <= position for row in rows[:2]):
    raise ValueError("%s: found the columns %s, expected one that is called %s"
                     "%s" % (_where(header), ", ".join(map(repr, header)),
                             repr(name), separator_hint(header)))
  return position


def read_number(text, where, column):
  """Returns a number, float; raises ValueError unless it is a finite one.

  Args:
    text: str.
    where: str. File and row, for the message.
    column: str. Name of the column.
  """
  try:
    number = float(text)
  except ValueError:
    number = float("nan")
  if not math.isfinite(number):
    raise ValueError("%s, column %s: found %r, expected a number" % (
        where, column, text))
  return number


def _looks_like_data(columns, texts, label, labels):
  """Returns whether a row seems to have data instead of column names."""
  def column(index):
    return "".join(columns[index:index + 1 or None]).strip()

  return (label is not None and column(label) in labels or
          any(_NUMBER.match(value.strip()) for value in columns) or
          any(column(index).endswith(_ENDS_OF_SENTENCES) or
              len(column(index).split()) > _LONGEST_NAME for index in texts))


def _where(row):
  """Returns the place of a row, for messages; a caller's own list has none."""
  return getattr(row, "where", "a row")
