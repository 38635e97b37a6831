"""How fuzz.py damages a file: as bytes, rows, JSON, or in whole."""

import gzip
import json

WORDS = [
    b"\0", b"\xef\xbb\xbf", b"\r\n", b"\r", b"\n", b"\n\n", b"\t", b'"', b",",
    b"\xff", b"\xed\xa0\x80", b"\x1b[31m", b"\x1f\x8b\x08", b"PK\x03\x04",
    "\u0663".encode(), "\u00b2".encode(), "\u2028".encode(), "\x85".encode(),
    "\u202e".encode(), b"NaN", b"1e999", b"-1", b"0x1F", b"1_000", b"9" * 400,
    b"1" * 5000, b"[" * 5000, b'{"a":' * 5000, b"\\ud800", b"null", b"true",
    b"{}", b"[]", b"../../x", b"/etc/passwd", b"%s%n", b" ", b"a" * 70000]
VALUES = [
    None, True, -1, 0, 2, 2 ** 31, 2 ** 63, 2 ** 70, 10 ** 400, 1e308, 0.5,
    float("nan"), float("-inf"), "", "x", "\ud800", "\0", "\n", "\x1b[31m",
    "9" * 400, "a" * 70000, [], [[]], {}, {"": None}, ["x"] * 1000,
    "/etc/passwd", "../../x", "\u0663", "1e999", "\u202e"]


def damage_bytes(chosen, content):
  """Returns bytes with a place changed."""
  begin = chosen.randint(0, len(content))
  end = min(len(content), begin + chosen.choice((0, 1, 1, 4, 16, 200)))
  piece = chosen.choice((
      b"", chosen.choice(WORDS), bytes([chosen.randrange(256)]),
      content[begin:end] * 2,
      bytes(byte ^ 1 << chosen.randrange(8) for byte in content[begin:end]),
      chosen.choice((0, 1, 2 ** 31, 2 ** 40, 2 ** 63 - 1)).to_bytes(
          8, "little")))
  return content[:begin] + piece + content[end:]


def damage_rows(chosen, content):
  """Returns a table, or another text, with rows or columns changed."""
  rows = content.split(b"\n")
  index = chosen.randrange(len(rows))
  separator = b"\t" if b"\t" in rows[index] else b","
  cells = rows[index].split(separator)
  parts, place = chosen.choice((
      (rows, index), (cells, chosen.randrange(len(cells)))))
  change = chosen.randrange(5)
  if change == 0:
    del parts[place]
  elif change == 1:
    parts.insert(place, parts[place])
  elif change == 2:
    parts.insert(chosen.randint(0, len(parts)), parts.pop(place))
  elif change == 3:
    parts[place] = chosen.choice(WORDS)
  else:
    parts[place] += chosen.choice(WORDS)
  if parts is cells:
    rows[index] = separator.join(cells)
  return b"\n".join(rows)


def damage_json(chosen, content):
  """Returns JSON, or a line of it, with a value or a key changed."""
  lines = content.split(b"\n")
  index = chosen.randrange(len(lines))
  for part in (content, lines[index]):
    try:
      value = json.loads(part.decode("utf-8"))
      break
    except (ValueError, RecursionError):
      continue
  else:
    return damage_bytes(chosen, content)
  top = [value]
  parent, key = top, 0
  while isinstance(parent[key], (dict, list)) and parent[key] and (
      parent is top or chosen.random() < 0.75):
    parent = parent[key]
    key = chosen.choice(list(parent) if isinstance(parent, dict)
                        else range(len(parent)))
  change = chosen.randrange(6)
  if change == 0 and parent is not top:
    del parent[key]
  elif change == 1:
    parent[key] = [parent[key]]
  elif change == 2 and isinstance(parent, dict):
    parent[str(chosen.choice(VALUES))] = parent.pop(key)
  else:
    parent[key] = chosen.choice(VALUES)
  try:
    text = json.dumps(top[0] if top else None, ensure_ascii=True).encode()
  except RecursionError:
    return content
  if change == 5:  # a key that is there twice
    text = text.replace(b"{", b'{"%s": 1, ' % str(key).encode(
        "utf-8", "replace"), 1)
  if part is content:
    return text
  lines[index] = text
  return b"\n".join(lines)


def damage_whole(chosen, content):
  """Returns another form of a file: packed, cut off, encoded, repeated."""
  packed = gzip.compress(content, mtime=0)
  return chosen.choice((
      lambda: b"",
      lambda: packed,
      lambda: packed[:chosen.randint(0, len(packed))],
      lambda: packed + b"x",
      lambda: damage_bytes(chosen, packed),
      lambda: gzip.compress(b"\0" * 2 ** 22, mtime=0),
      lambda: content[:chosen.randint(0, len(content))],
      lambda: b"\xef\xbb\xbf" + content,
      lambda: content.replace(b"\n", b"\r\n"),
      lambda: content.replace(b"\n", b"\r"),
      lambda: content.replace(b"\n", b" "),
      lambda: b"\0" * len(content),
      lambda: content.decode("latin-1").encode("utf-16"),
      lambda: content * 50,
      lambda: b"[" * 100000,
      lambda: bytes(chosen.randrange(256) for _ in range(200))))()


def damage(chosen, content):
  """Returns what is left of valid bytes after one to four changes."""
  kinds = [damage_bytes, damage_bytes, damage_rows, damage_json, damage_json]
  for _ in range(chosen.choice((1, 1, 2, 4))):
    content = chosen.choice(kinds)(chosen, content)
  return damage_whole(chosen, content) if chosen.random() < 0.1 else content
