"""Tests of tables of a user's own: formats, columns, rows that are wrong."""

import codecs

import pytest

from bert_suite import table_files
from helpers import gzip_file

ROWS = [(2, ["one", "a"]), (3, ["two, 2", "b"])]


def write(tmp_path, name, content):
  path = tmp_path / name
  path.write_bytes(content if isinstance(content, bytes) else
                   content.encode("utf-8"))
  return str(path)


def read(tmp_path, name, content, columns=("text", "label"), **others):
  return list(table_files.read_rows(
      write(tmp_path, name, content), list(columns), **others))


@pytest.mark.parametrize("name, content", [
    ("a.tsv", "id\tlabel\ttext\n1\ta\tone\n2\tb\ttwo, 2\n"),
    ("a.csv", 'label,"text"\r\na,one\r\nb,"two, 2"\r\n'),
    ("a.CSV", b"\xef\xbb\xbflabel, text\na,one\nb,\"two, 2\"\n\n \n"),
])
def test_columns_are_found_by_name_in_each_format(tmp_path, name, content):
  assert read(tmp_path, name, content) == ROWS
  assert list(table_files.read_rows(gzip_file(tmp_path / name),
                                    ["text", "label"])) == ROWS
  moved = tmp_path / (name + ".gz")
  (tmp_path / name).rename(moved)
  assert list(table_files.read_rows(str(moved), ["text", "label"])) == ROWS


def test_json_lines(tmp_path):
  content = ('{"text": "one", "label": "a"}\n'
             '{"label": ["b", 3], "text": "zw\\u00f6lf\\n"}\n')
  expected = [(1, ["one", "a"]), (2, ["zw\u00f6lf\n", ["b", 3]])]
  assert read(tmp_path, "a.jsonl", content) == expected
  assert read(tmp_path, "a.txt", content, table_format="jsonl") == expected


def test_columns_have_numbers_where_there_is_no_header(tmp_path):
  assert read(tmp_path, "a.csv", "a,x,one\nb,y,two\n", ["3", "1"]) == [
      (1, ["one", "a"]), (2, ["two", "b"])]
  for column in ("0", "4"):
    with pytest.raises(ValueError, match="a.csv: has 3 column.s., the first is "
                       "1; found no column " + column):
      read(tmp_path, "a.csv", "a,x,one\nb,y,two\n", [column])


def test_numbers_from_0_on_are_the_header_of_pandas(tmp_path):
  content = "0,1\none,a\ntwo,b\n"
  assert read(tmp_path, "a.csv", content, ["0", "1"]) == [
      (2, ["one", "a"]), (3, ["two", "b"])]
  with pytest.raises(ValueError, match="found the columns '0', '1', expected "
                     "one called '2'"):
    read(tmp_path, "a.csv", content, ["1", "2"])


def test_what_only_looks_like_a_number_is_a_name(tmp_path):
  assert read(tmp_path, "a.csv", "x,\u00b2\none,a\n", ["\u00b2"]) == [
      (2, ["a"])]


def test_a_csv_may_have_commas_quotes_and_line_breaks_in_quotes(tmp_path):
  content = 'text,label\n"say ""tea"", now\n\nand then",a\n"",b\n"x",c'
  assert read(tmp_path, "a.csv", content) == [
      (2, ['say "tea", now\n\nand then', "a"]), (5, ["", "b"]),
      (6, ["x", "c"])]


def test_a_tsv_has_no_quotes(tmp_path):
  assert read(tmp_path, "a.tsv", 'text\tlabel\n"one\ta\n') == [
      (2, ['"one', "a"])]


def test_texts_may_be_long(tmp_path):
  text = "long " * 50000
  assert read(tmp_path, "a.csv", "text,label\n%s,a\n" % text) == [
      (2, [text, "a"])]


def test_a_column_may_be_missing_where_it_is_optional(tmp_path):
  for name, content in (("a.csv", "text\none\n"),
                        ("a.jsonl", '{"text":"one"}')):
    assert [values for _, values in read(
        tmp_path, name, content, optional="label")] == [["one", None]]
  assert read(tmp_path, "a.csv", "one\n", ["1", "2"], optional="2") == [
      (1, ["one", None])]


@pytest.mark.parametrize("name, content, message", [
    ("a.csv", "id,review\n", "line 1: found the columns 'id', 'review', "
     "expected one called 'text', which --text_a, --text_b or --label names; "
     "if the file has no header, pass the columns' numbers"),
    ("a.csv", "txt,label\n", "--label names; did you mean 'txt'?"),
    ("a.csv", "text;label\na;b\n", "line 1: found the columns 'text;label', "
     "expected one called 'text', which --text_a, --text_b or --label names; "
     "it has semicolons: save the file with commas or tabs instead"),
    ("a.tsv", "text,label\n", "names; it has commas: pass --table_format=csv"),
    ("a.csv", "text,label,text\n", "line 1: found 2 columns called 'text'; "
     "rename one"),
    ("a.jsonl", '{"text": "a", "label": "b"}\n{"text": "a"}\n', "line 2: found "
     "the columns 'text', expected one called 'label'"),
    ("a.csv", 'text,label\na,b\n"a" b,c\n', "line 3, column 1: wrong quotes ("),
    ("a.csv", 'text,label\na,"b"c\n', "line 2, column 2: wrong quotes ("),
    ("a.csv", 'text,label\na,b\n"a,c\na,b\n', "line 3, column 1: a quote is "
     "not closed; close it, or remove it"),
    ("a.csv", "text,label\na\rb,c\n", "line 2, column 1: found a carriage "
     "return outside quotes; put the text in quotes"),
    ("a.csv", "text,label\na,b\na,b,c\n", "line 3: found 3 column(s), expected "
     "2 columns as in line 1; put texts with commas in quotes"),
    ("a.tsv", "text\tlabel\na\n", "line 2: found 1 column(s), expected 2 "
                                  "columns as in line 1; texts must not "
                                  "contain tabs"),
    ("a.csv", "text,label\n\na,b\n", "line 2: found a blank line, expected 2 "),
    ("a.jsonl", '{"text": "a", "label": "b"}\n{"text" "a"}\n',
     "line 2, column 9: is not JSON (Expecting ':' delimiter); expected an "),
    ("a.jsonl", '["a"]\n', "line 1: found a JSON list, expected an object "),
    ("a.jsonl", "[" * 100000, "line 1, column 1: is not JSON ("),
    ("a.jsonl", '{"text": "\\ud800", "label": "b"}\n', "line 1, column 1: is "
     "not JSON ('utf-8' codec can't encode"),
    ("a.csv", b"text,label\na,caf\xe9\n", "line 2: byte 6 is not UTF-8; save"),
    ("a.csv", codecs.BOM_UTF16_LE + "text".encode("utf-16-le"), "line 1: byte "
     "1 is not UTF-8"),
])
def test_what_cannot_be_read_is_named(tmp_path, name, content, message):
  with pytest.raises(ValueError) as error:
    read(tmp_path, name, content)
  start = str(tmp_path / name) + ", "
  assert str(error.value).startswith(start)
  assert message in str(error.value)
  assert "\n" not in str(error.value)


def test_an_empty_file_is_said_to_be_empty(tmp_path):
  with pytest.raises(ValueError, match="a.csv: the file is empty"):
    read(tmp_path, "a.csv", "")


def test_the_name_of_a_format_is_not_case_sensitive(tmp_path):
  path = write(tmp_path, "a.txt", "text,label\na,b\n")
  assert list(table_files.read_rows(path, ["text"], "CSV")) == [(2, ["a"])]


def test_an_open_quote_does_not_read_the_rest_of_a_file(tmp_path, monkeypatch):
  monkeypatch.setattr(table_files, "_LONGEST_TEXT", 2 ** 18)
  path = write(tmp_path, "a.csv", 'text,label\n"open,a\n' + "b,c\n" * 2 ** 17)
  read_lines, seen = table_files.read_lines, []

  def counting(*arguments):
    for line in read_lines(*arguments):
      seen.append(line)
      yield line

  monkeypatch.setattr(table_files, "read_lines", counting)
  import csv
  before = csv.field_size_limit(131072)
  try:
    with pytest.raises(ValueError, match="a.csv, line 2, column 1: a quote is "
                       "not closed, or the text has more than 262144 chara"):
      list(table_files.read_rows(path, ["text"]))
  finally:
    csv.field_size_limit(before)
  assert len(seen) < 2 ** 17


@pytest.mark.parametrize("name, message", [
    ("a.txt", "a.txt: its name does not end with .tsv, .csv or .jsonl, with "),
    ("a.gz", "a.gz: its name does not end with")])
def test_a_file_of_no_known_format_is_named(tmp_path, name, message):
  with pytest.raises(ValueError, match=message):
    list(table_files.read_rows(str(tmp_path / name), ["text"]))
