r"""Converts TriviaQA to SQuAD's JSON, for run_squad.py to train on first.

  python convert_triviaqa.py --input_file=qa/wikipedia-train.json \
    --evidence_dir=evidence --output_file=triviaqa-train.json

Each pair of a question and a document of it becomes a paragraph, the document's
first --max_words words; the first occurrence of the answer, in one of its
spellings, is taken. Pairs without one are left out.

Source: Joshi et al., arXiv 1705.03551.
"""

import collections
import dataclasses
import json
import os

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

from absl import flags
import tensorflow.compat.v1 as tf

from . import cli, files, progress, run_settings, script_options
from .script_options import option
from .squad import triviaqa

FLAGS = flags.FLAGS

REQUIRED_FLAGS = ("input_file", "evidence_dir", "output_file")

_MOST_BYTES = 2 ** 30  # that run_squad.py reads


@dataclasses.dataclass
class Settings(run_settings.LoggingSettings):
  """Settings of this script; each field is a flag."""

  input_file: str = option(
      "paths", None, "TriviaQA's questions, such as wikipedia-train.json, "
      "web-train.json or unfiltered-web-train.json: paths or patterns, "
      "separated by commas.")
  evidence_dir: str = option(
      "path", None, "Folder of the documents, with \"wikipedia\" and \"web\".")
  output_file: str = option("path", None, "JSON file to write.")
  max_words: int = option(
      "integer", 800, "Words of a document to keep.", lower_bound=1)
  version_2_with_negative: bool = option(
      "bool", False, "Keep questions whose document does not have the answer "
      "there, as unanswerable ones, as in SQuAD 2.0.")
  sample_share: float = option(
      "float", 1.0, "Share of the pairs of question and document to keep, "
      "drawn at random.", above=0.0, upper_bound=1.0)
  random_seed: int = option("integer", 12345, "Seed of that.")


def define_flags():
  """Defines the flags; may be called again, see `cli.define_flag`."""
  script_options.define_flags(Settings)


@script_options.runs(Settings, REQUIRED_FLAGS)
def run_with(settings):
  """Converts TriviaQA.

  Args:
    settings: Settings.

  Raises:
    UserError: a mistake in the settings or in a file.
  """
  progress.start_logging(settings.verbose)
  counts = collections.Counter()
  with cli.user_errors():
    paths = files.find_files(settings.input_file, "--input_file")
    files.check_outputs([("--input_file", path) for path in paths],
                        [("--output_file", settings.output_file)])
    files.check_writable(settings.output_file, "--output_file")
    if not tf.gfile.IsDirectory(settings.evidence_dir):
      raise ValueError("--evidence_dir=%s: is not a folder" %
                       settings.evidence_dir)
    if not any(tf.gfile.IsDirectory(os.path.join(settings.evidence_dir, name))
               for _, name in triviaqa.FOLDERS):
      raise ValueError(
          "--evidence_dir=%s: has neither wikipedia nor web; give the folder "
          "of TriviaQA's evidence that these two are in" %
          settings.evidence_dir)
    articles = triviaqa.convert(
        paths, settings.evidence_dir, settings.max_words,
        settings.version_2_with_negative, settings.sample_share,
        settings.random_seed, counts)
    with files.atomic_path(settings.output_file) as temporary:
      size = _write(temporary, articles,
                    "v2.0" if settings.version_2_with_negative else "1.1")
      _check(counts, settings)
  tf.logging.info(
      "Wrote %s, %d MB: pairs of question and document: %s",
      settings.output_file, size >> 20, ", ".join(
          "%d %s" % (counts[name], name) for name in (
              "written", "without the answer", "without a document",
              "repeated")))
  if size > _MOST_BYTES:
    tf.logging.warning(
        "run_squad.py reads files of up to %d MB; give a --sample_share of "
        "about %.2g", _MOST_BYTES >> 20,
        0.9 * settings.sample_share * _MOST_BYTES / size)


def _write(path, articles, version):
  """Writes articles, one per line, as they come; returns the size in bytes."""
  size = 0
  with tf.gfile.GFile(path, "wb") as writer:

    def write(text):
      nonlocal size
      data = text.encode("utf-8")
      writer.write(data)
      size += len(data)

    write('{"version": "%s", "data": [' % version)
    separator = "\n"
    with progress.Progress("Converting TriviaQA", unit="pairs") as bar:
      for article in articles:
        write(separator + json.dumps(article, ensure_ascii=False))
        separator = ",\n"
        bar.advance()
    write("\n]}\n")
  return size


def _check(counts, settings):
  """Raises ValueError if nothing was written; warns of missing documents."""
  missing, without = (counts["without a document"],
                      counts["without the answer"])
  if not counts["written"]:
    if not missing + without:
      found = "there is no question with a document" + (
          "; give a greater --sample_share" * (settings.sample_share < 1))
    elif not without:
      found = ("none of the %d documents is in --evidence_dir=%s; give the "
               "folder that they were unpacked to" % (
                   missing, settings.evidence_dir))
    else:
      found = ("none of the %d documents has its answer among the first "
               "--max_words=%d words; %d more are not in --evidence_dir=%s" % (
                   without, settings.max_words, missing,
                   settings.evidence_dir))
    raise ValueError("--input_file=%s: %s" % (settings.input_file, found))
  if missing:
    tf.logging.warning("%d documents are not in %s, or empty", missing,
                       settings.evidence_dir)


def main(_):
  """Converts TriviaQA."""
  run_with(script_options.from_flags(Settings, FLAGS))


def run(argv=None):
  """Runs the script; see `cli.run`."""
  cli.run(main, define_flags, REQUIRED_FLAGS, argv=argv)


if __name__ == "__main__":
  run()
