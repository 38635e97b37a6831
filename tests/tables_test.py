"""Tests of tables: rows of tab-separated values, first rows that are data."""

import codecs

import pytest

from bert_suite import tables
from helpers import captured_log, gzip_file


def write_bytes(tmp_path, content):
  path = tmp_path / "table.tsv"
  path.write_bytes(content)
  return str(path)


@pytest.mark.parametrize("content,rows", [
    (b"a\tb\n1\t2\n", [["a", "b"], ["1", "2"]]),
    (b"a\tb\n1\t2", [["a", "b"], ["1", "2"]]),
    (b"a\tb\r\n1\t2\r\n", [["a", "b"], ["1", "2"]]),
    (codecs.BOM_UTF8 + b"1\t2\n", [["1", "2"]]),
    (b"1\t2\n\n\r\n\n", [["1", "2"]]),
    (b"1\t\n\t2\t\n", [["1", ""], ["", "2", ""]]),
    (b"1\n\n2\n", [["1"], [""], ["2"]]),
    (b" 1 \t\"2\n", [[" 1 ", "\"2"]]),
    (b"", []),
    (b"\n\r\n\n", []),
    (codecs.BOM_UTF8, []),
])
def test_read_tsv(tmp_path, content, rows):
  found = tables.read_tsv(write_bytes(tmp_path, content))
  assert [list(row) for row in found] == rows


@pytest.mark.parametrize(
    "separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_only_a_line_feed_ends_a_row(tmp_path, separator):
  line = "1\tone%stwo\n" % separator
  rows = tables.read_tsv(write_bytes(tmp_path, line.encode("utf-8")))
  assert rows == [["1", "one%stwo" % separator]]


def test_quotechar_joins_columns_with_tabs_inside(tmp_path):
  path = write_bytes(tmp_path, b'1\t"a\tb"\t"say ""c"""\n2\td\te\n')
  assert tables.read_tsv(path, quotechar='"') == [
      ["1", "a\tb", 'say "c"'], ["2", "d", "e"]]
  assert tables.read_tsv(path)[0] == [
      "1", '"a', 'b"', '"say ""c"""']


def test_gzip_is_unpacked_whatever_the_name_is(tmp_path):
  path = gzip_file(write_bytes(tmp_path, b"a\tb\r\nc\td\n"))
  assert tables.read_tsv(path) == [["a", "b"], ["c", "d"]]
  with open(path, "rb+") as writer:
    writer.truncate(20)
  with pytest.raises(ValueError, match="is a damaged gzip file .*; get it"):
    tables.read_tsv(path)


def test_a_line_that_is_not_utf_8_is_named(tmp_path):
  path = write_bytes(tmp_path, b"1\tfine\n2\tcaf\xe9\n3\tfine\n")
  with pytest.raises(ValueError) as error:
    tables.read_tsv(path)
  assert str(error.value) == (
      "%s, row 2: byte 6 is not UTF-8; save the file as UTF-8" % path)


def test_a_row_that_cannot_be_split_is_named(tmp_path):
  path = write_bytes(tmp_path, b"1\tfine\n2\tcarriage\rreturn\n")
  with pytest.raises(ValueError, match="table.tsv, row 2: "):
    tables.read_tsv(path, quotechar='"')


def test_a_missing_column_is_named(tmp_path):
  path = write_bytes(tmp_path, b"0\tx\ty\n1\tx\n")
  full, short = tables.read_tsv(path)
  assert (full[2], full[-1], full[1:]) == ("y", "y", ["x", "y"])
  with pytest.raises(ValueError) as error:
    short[2]
  assert str(error.value) == (
      "%s, row 2: found 2 tab-separated column(s), expected at least 3 "
      "columns; correct or remove the row" % path)


def test_quoted_columns_may_have_line_breaks(tmp_path):
  path = write_bytes(
      tmp_path, b'1\t"a\r\n\tb\n\n"\tx\r\n2\t"c"\n\n3\td\n\n')
  rows = tables.read_tsv(path, quotechar='"')
  assert rows == [["1", "a\n\tb\n\n", "x"], ["2", "c"], [], ["3", "d"]]
  assert [row.number for row in rows] == [1, 5, 6, 7]
  assert rows[3].where == "%s, row 7" % path


@pytest.mark.parametrize("content, row", [
    (b'1\tfine\n2\t"open\n3\tfine\n', 2),
    (b'1\tfine\n2\tfine\n3\t"open', 3),
    (b'1\tfine\n2\t"' + b"long " * 2 ** 15 + b'\n3\tfine\n', 2),
])
def test_a_quote_that_is_not_closed_is_named(tmp_path, content, row):
  path = write_bytes(tmp_path, content)
  with pytest.raises(ValueError, match="table.tsv, row %d: .*not closed" % row):
    tables.read_tsv(path, quotechar='"')


@pytest.mark.parametrize("line, name", [
    (b"1,It rains, still.", "commas"), (b"1;It rains.", "semicolons")])
def test_a_row_of_another_separator_is_named(tmp_path, line, name):
  row, = tables.read_tsv(write_bytes(tmp_path, line))
  with pytest.raises(ValueError) as error:
    row[1]
  assert str(error.value) == (
      "%s, row 1: found 1 tab-separated column(s), expected at least 2 "
      "columns; the row has %s and no tab: if the file is a .csv, save it with "
      "tabs between the columns" % (tmp_path / "table.tsv", name))


def warnings_of(rows, *arguments):
  with captured_log() as lines:
    tables.warn_of_first_row(rows, *arguments)
  return lines


@pytest.mark.parametrize("first", [
    ["1", "id", "text"], ["label", "12", "text"], ["label", "-1.5", "text"],
    ["label", "id", "It rains."], ["label", "id", "\u4e0b\u96e8\u3002"],
    ["label", "id", "no end but many words"],
])
def test_a_first_row_that_looks_like_data_is_named(tmp_path, first):
  row = tables.TsvRow(first, "dev.tsv", 1)
  assert warnings_of([row], (2,), 0, ["0", "1"]) == [
      "dev.tsv, row 1: looks like data, but is taken for a header and left "
      "out; add a header to the file"]


@pytest.mark.parametrize("first", [
    ["Quality", "#1 ID", "#1 String"], ["label", "id", "the first sentence"],
    ["a", "", ""], [""], ["label"]])
def test_a_header_is_not_named(first):
  assert not warnings_of([first, ["1", "7", "It rains."][:len(first)]],
                         (2,), 0, ["0", "1"])
  assert not warnings_of([], (2,))


def test_rows_with_more_columns_than_the_header_are_named():
  rows = [
      tables.TsvRow(columns, "dev.tsv", number)
      for number, columns in enumerate([
          ["label", "text"], ["1", "a", "", ""], ["1", "a", "b"], ["0", "c"],
          ["0", "c", "", "d"]], 1)]
  lines = warnings_of(rows[:3], (1,), 0, ["0", "1"])
  assert lines == [
      "dev.tsv, row 3: found 3 columns, but the header has 2: if a text has "
      "tabs, remove them, since what follows one is in the wrong column"]
  assert warnings_of(rows, (1,)) == [lines[0] + " (1 more such rows)"]


def test_a_carriage_return_outside_quotes_is_named(tmp_path):
  path = tmp_path / "a.tsv"
  path.write_bytes(b'"a"\tb\nc\td\re\tf\n')
  with pytest.raises(ValueError,
                     match="row 2: found a carriage return outside"):
    tables.read_tsv(str(path), quotechar='"')
