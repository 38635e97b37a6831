"""A user's own tables, row by row: TSV, CSV, JSON lines, also gzipped."""

import codecs
import csv
import difflib
import json
import os
import re

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import gzip_files

FORMATS = ("tsv", "csv", "jsonl")
_ENDINGS = {".tsv": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
# The csv module refuses columns of more than 131,072 characters; without a
# limit, an unclosed quote would make it read the rest of the file.
_LONGEST_TEXT = 2 ** 24
# A column with correct quotes, and the comma after it.
_CSV_COLUMN = re.compile(r'("(?:[^"]|"")*"|(?!")[^,\r]*),')
_SEPARATORS = (("\t", "tabs: pass --table_format=tsv"),
               (";", "semicolons: save the file with commas or tabs instead"),
               (",", "commas: pass --table_format=csv"))


def find_format(path, given=None):
  """Returns the format of a table: `given`, or by the ending of its name.

  Raises:
    ValueError: its name does not tell.
  """
  found = (given or "").lower() or _format_of(path)
  if found is None:
    raise ValueError("%s: its name does not end with .tsv, .csv or .jsonl, "
                     "with or without .gz; pass --table_format" % path)
  return found


def _format_of(path):
  root = path[:-len(".gz")] if path.lower().endswith(".gz") else path
  return _ENDINGS.get(os.path.splitext(root)[1].lower())


def is_json(path):
  """Returns whether a file is JSON lines, by its name."""
  return _format_of(path) == "jsonl"


def has_header(columns):
  """Returns whether columns, list of str, are names, not numbers."""
  return not all(column.isdecimal() for column in columns)


def read_rows(path, columns, table_format=None, optional=None):
  """Yields some columns of each row; keeps no rows.

  Args:
    path: str. May be gzip, whatever its name is.
    columns: list of str. The names of columns; or, if the file has no header,
      only numbers, from 1. JSON lines only have names, and so do files with
      the first row 0, 1, 2 ..., the header that pandas writes.
    table_format: str. One of FORMATS; None to go by the name.
    optional: str. One of `columns` that the file need not have.

  Yields:
    (int, list): the number of the line where a row begins, and its values, str
    (in JSON lines, of any type); None for the optional column if it is missing.

  Raises:
    ValueError: a row cannot be read, or lacks a column; the message says where.
  """
  table_format = find_format(path, table_format)
  with tf.gfile.GFile(path, "rb") as reader:
    lines = read_lines(gzip_files.unpacked(reader, path), path)
    if table_format == "jsonl":
      for number, found in parse_json(lines, path):
        _check_columns([one for one in columns if one != optional], found,
                       "%s, line %d" % (path, number))
        yield number, [found.get(column) for column in columns]
      return
    parse = _parse_csv if table_format == "csv" else _split_at_tabs
    rows = _check_widths(parse(lines, path), path, table_format)
    if has_header(columns):
      indices = _find_columns(next(rows, (1, [])), columns, optional, path)
    else:
      indices = None
    for number, found in rows:
      if indices is None:
        if found == [str(i) for i in range(len(found))]:
          indices = _find_columns((number, found), columns, optional, path)
          continue
        indices = _check_numbers(columns, len(found), optional, path)
      yield number, [None if index is None else found[index]
                     for index in indices]


def read_lines(reader, path):
  """Yields the lines of a file, without blank ones at its end.

  Args:
    reader: binary file.
    path: str. Its name, for messages.

  Yields:
    str, without the line ending; "" for a line of only white space.

  Raises:
    ValueError: a line is not UTF-8.
  """
  blank = 0
  for number, line in enumerate(reader, 1):
    if number == 1 and line.startswith(codecs.BOM_UTF8):
      line = line[len(codecs.BOM_UTF8):]
    try:
      text = line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
      raise ValueError("%s, line %d: byte %d is not UTF-8; save the file as "
                       "UTF-8" % (path, number, error.start + 1)) from None
    if not text.strip():
      blank += 1
      continue
    for _ in range(blank):
      yield ""
    blank = 0
    yield text


def _split_at_tabs(lines, unused_path):
  """Yields the number and the columns, list of str, of each row of a TSV."""
  for number, line in enumerate(lines, 1):
    yield number, line.split("\t")


def _parse_csv(lines, path):
  """Yields the same for a CSV as in RFC 4180."""
  csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_TEXT))
  record = []  # the lines of a row

  def remembered():
    for line in lines:
      record.append(line + "\n")
      yield record[-1]

  reader, number = csv.reader(remembered(), strict=True), 1
  while True:
    del record[:]
    try:
      columns = next(reader)
    except StopIteration:
      return
    except csv.Error as error:
      raise ValueError(_explain(error, "".join(record), path, number)) from None
    yield number, columns
    number = reader.line_num + 1


def _explain(error, record, path, number):
  """Returns a message, str, about the row that caused a csv.Error."""
  good, match = 0, _CSV_COLUMN.match(record)
  while match:
    good, match = good + 1, _CSV_COLUMN.match(record, match.end())
  cause = "wrong quotes (%s); double a quote that is part of a text" % error
  if "new-line" in str(error):
    cause = "found a carriage return outside quotes; put the text in quotes"
  elif "NUL" in str(error):
    cause = "found a NUL character; save the file as UTF-8"
  elif "end of data" in str(error):
    cause = "a quote is not closed; close it, or remove it"
  elif "limit" in str(error):
    cause = ("a quote is not closed, or the text has more than %d characters" %
             _LONGEST_TEXT)
  return "%s, line %d, column %d: %s" % (path, number, good + 1, cause)


def parse_json(lines, path, sample='{"text": "...", "label": "..."}'):
  """Yields the number and the dict of each line of JSON lines.

  Args:
    lines: iterable of str.
    path: str. The file, for messages.
    sample: str. What a line should be like, for messages.

  Raises:
    ValueError: a line is something else.
  """
  for number, line in enumerate(lines, 1):
    where = "%s, line %d" % (path, number)
    try:
      found = json.loads(line)
      if "\\ud" in line.lower():  # a lone surrogate cannot be encoded
        json.dumps(found, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
      raise ValueError("%s, column %d: is not JSON (%s); expected an object on "
                       "each line" % (where, getattr(error, "colno", 1),
                                      getattr(error, "msg", error))) from None
    if not isinstance(found, dict):
      raise ValueError("%s: found a JSON %s, expected an object such as %s" % (
          where, type(found).__name__, sample))
    yield number, found


def _check_widths(rows, path, table_format):
  """Yields rows; raises ValueError for one that is not as wide as the first."""
  width = None
  for number, columns in rows:
    width = len(columns) if width is None else width
    if len(columns) != width:
      is_blank = not "".join(columns).strip()
      raise ValueError("%s, line %d: found %s, expected %d columns as in line "
                       "1; %s" % (
                           path, number, "a blank line" if is_blank else
                           "%d column(s)" % len(columns), width,
                           "remove it" if is_blank else
                           "put texts with commas in quotes"
                           if table_format == "csv" else
                           "texts must not contain tabs"))
    yield number, columns


def _find_columns(header, columns, optional, path):
  """Returns the indices of columns in a header; None for a missing one."""
  number, names = header
  if not names:
    raise ValueError("%s: the file is empty" % path)
  names = [name.strip() for name in names]
  where = "%s, line %d" % (path, number)
  _check_columns([one for one in columns if one != optional], names, where,
                 "; if the file has no header, pass the columns' numbers")
  for column in columns:
    if names.count(column) > 1:
      raise ValueError("%s: found %d columns called %r; rename one" % (
          where, names.count(column), column))
  return [names.index(column) if column in names else None
          for column in columns]


def _check_columns(columns, found, where, hint=""):
  """Raises ValueError if one of the columns is not in `found`, names."""
  missing = [column for column in columns if column not in found]
  if not missing:
    return
  near = difflib.get_close_matches(missing[0], map(str, found), n=1)
  others = [advice for separator, advice in _SEPARATORS
            if len(found) == 1 and separator in list(found)[0]]
  if near:
    hint = "; did you mean %r?" % near[0]
  elif others:
    hint = "; it has " + others[0]
  raise ValueError(
      "%s: found the columns %s, expected one called %r, which --text_a, "
      "--text_b or --label names%s" % (
          where, ", ".join(map(repr, found)) or "(none)", missing[0], hint))


def _check_numbers(columns, width, optional, path):
  """Returns the indices of columns whose numbers, from 1, are given."""
  for column in columns:
    if column != optional and not 1 <= int(column) <= width:
      raise ValueError("%s: has %d column(s), the first is 1; found no column "
                       "%s" % (path, width, column))
  return [int(column) - 1 if 1 <= int(column) <= width else None
          for column in columns]
