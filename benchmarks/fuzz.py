"""Feeds damaged files to every reader; each must read them or refuse in a line.

  python benchmarks/fuzz.py --inputs=100000

A reader is what a script calls on a file of that kind: tables, SQuAD, records
and their indices, vocabularies, configs, checkpoints, and the files of an
output_dir. Valid files are damaged at random, as bytes and as what they are:
columns, rows, JSON, gzip. Each input has a seed of its own. Readers run in
processes that are forked for some hundred inputs, with the boundary for errors
that the scripts have. Right is success, or one line of text that names the
file. Anything else is a finding: another exception, a line with a stack trace
or with characters that cannot be printed, a message that names no file, a
process that dies, more than 10 s of computing or 120 s of waiting (a machine
may be busy), and more than 1 GB of memory.

Prints for each reader how many inputs there were, how many of them were read
and how many refused, and each finding with the command that repeats it. The
exit status is 1 if there was any.
"""

import collections
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback

from absl import app, flags
import tensorflow.compat.v1 as tf

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, TOP)

from bert_suite import cli  # noqa: E402
import fuzz_damage  # noqa: E402  # found through the path above
import fuzz_readers  # noqa: E402

FLAGS = flags.FLAGS
SECONDS, WAITING, BYTES, BATCH = 10, 120, 2 ** 30, 500


def define_flags():
  """Defines the flags of this script."""
  flags.DEFINE_integer("inputs", 100000, "Files to read, over all readers.",
                       lower_bound=1)
  flags.DEFINE_integer("first", 0, "Number of the first input of each reader.")
  flags.DEFINE_list("readers", None, "Readers; all by default.")


def find_fault(text, folder):
  """Returns what is wrong with a message, None if nothing is."""
  if not text.isprintable():
    return "characters that cannot be printed"
  if "Traceback" in text or len(text) > 41000:
    return "a stack trace, or a text that is too long"
  # A run.json names a vocabulary, which may be anywhere.
  if folder not in text and "vocabulary" not in text:
    return "a message that names no file"
  return None


def judge(case, content, folder):
  """Has a file read; returns "read", "refused", or what is wrong."""
  fuzz_readers.write(case.path, content)
  try:
    with cli.user_errors():
      case.read()
    return "read"
  except cli.UserError as error:
    fault = find_fault(str(error), folder)
    return "%s: %r" % (fault, str(error)[:500]) if fault else "refused"
  except BaseException:  # noqa: BLE001  # it is what is looked for
    return traceback.format_exc()[-1500:]
  finally:
    fuzz_readers.write(case.path, case.content)


def read_batch(sender, name, cases, numbers, folder):
  """Judges inputs; the body of a process."""
  resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
  with open("/proc/self/statm") as reader:
    limit = int(reader.read().split()[0]) * resource.getpagesize() + BYTES
  resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
  for number in numbers:
    chosen = random.Random("%s %d" % (name, number))
    case = chosen.choice(cases)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # it would end the process
    sender.send(judge(case, fuzz_damage.damage(chosen, case.content), folder))


def run_batch(name, cases, numbers, folder):
  """Yields the number and the judgement of each input.

  An input that ends its process, or has to be ended, is judged too.
  """
  context = multiprocessing.get_context("fork")
  while numbers:
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(
        target=read_batch, args=(sender, name, cases, numbers, folder),
        daemon=True)
    process.start()
    sender.close()
    while numbers:
      fault = "more than %d s" % WAITING
      try:
        if receiver.poll(WAITING):
          fault = receiver.recv()
      except EOFError:
        process.join()
        fault = "the process died, exit status %s (%d is that of %d s of " \
            "computing)" % (process.exitcode, -signal.SIGPROF, SECONDS)
      yield numbers[0], fault
      numbers = numbers[1:]
      if fault.startswith(("more than", "the process")):
        break
    process.kill()
    process.join()


def main(_):
  """Damages, reads, counts and prints."""
  tf.logging.set_verbosity(tf.logging.FATAL)
  total, begin = collections.Counter(), time.time()
  with tempfile.TemporaryDirectory() as folder:
    saving = multiprocessing.get_context("fork").Process(
        target=fuzz_readers.save_model, args=(os.path.join(folder, "model"),))
    saving.start()
    saving.join()
    readers = fuzz_readers.make(folder)
    names = FLAGS.readers or sorted(readers)
    share = -(-FLAGS.inputs // len(names))
    for name in names:
      counts = collections.Counter()
      last = FLAGS.first + share
      for first in range(FLAGS.first, last, BATCH):
        numbers = range(first, min(first + BATCH, last))
        for number, found in run_batch(name, readers[name], numbers, folder):
          counts[found if found in ("read", "refused") else "findings"] += 1
          if found not in ("read", "refused"):
            print("python benchmarks/fuzz.py --readers=%s --first=%d "
                  "--inputs=1\n%s" % (name, number, found))
      print("%s: %d inputs, %d read, %d refused, %d findings" % (
          name, sum(counts.values()), counts["read"], counts["refused"],
          counts["findings"]), flush=True)
      total += counts
  print("%d inputs in %.0f s: %d read, %d refused, %d findings" % (
      sum(total.values()), time.time() - begin, total["read"],
      total["refused"], total["findings"]))
  sys.exit(1 if total["findings"] else 0)


if __name__ == "__main__":
  define_flags()
  app.run(main)
