"""Times training steps on a GPU beside Hugging Face transformers at its best.

  python benchmarks/gpu/compare.py --torch_python=python3

TensorFlow runs in this process and torch in another, see transformers_peer.py,
on one GPU; --torch_python may be the same interpreter. They take their steps by
turns, on the same sequences, with dropout, clipping and AdamW:

  HF padded     transformers, batches padded to --max_seq_length
  HF longest    each batch cut to the longest of its sequences
  HF sorted     the same sequences in batches of similar length, cut likewise
  HF compiled   padded, with torch.compile
  ours          --remove_padding=true --compute_dtype --use_xla
  ours float32  the same without the last two

transformers has SDPA attention and fused AdamW, and autocasts to --peer_dtype.
The --warmup turns are not counted; --steps should be a dozen or more. The batch
shapes of BERT-Base are the default; for BERT-Large and for SQuAD's lengths

  --layers=24 --hidden=1024 --batch_size=16
  --head=squad --data_sets=SQuAD --max_seq_length=384

Prints the environment of all, every turn, and for each data set a line for each
way to take a step:

  MRPC  HF sorted  <median> ms (<least>)  <ratio> of ours  <n> MB

and for ours also the operations that ran in a step, the sizes that programs
were compiled for, the seconds of the first step and of all compiling, the
arithmetic of the real tokens and its share of the GPU's bfloat16 peak.
--device=cpu does the same on a CPU, to try it.
"""

import collections
import os
import sys

from absl import app, flags
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import steps  # isort: skip  # before TensorFlow
import tensorflow.compat.v1 as tf

import arithmetic
import transformers_peer
import transformers_step

FLAGS = flags.FLAGS

# Operations that name a variable or an argument, and compute nothing.
NAMES = ("VarHandleOp", "_Arg", "_Retval", "NoOp")


def define_flags():
  """Defines the flags of this script."""
  steps.define_flags()
  transformers_peer.define_flags()
  FLAGS.set_default("steps", 12)
  FLAGS.set_default("warmup", 6)
  flags.DEFINE_enum("device", "cuda", ["cuda", "cpu"], "Where to train.")
  flags.DEFINE_enum("compute_dtype", "bfloat16",
                    ["float32", "bfloat16", "float16"], "Of ours.")
  flags.DEFINE_bool("use_xla", True, "Of ours.")
  flags.DEFINE_enum("peer_dtype", "bfloat16", ["float32", "bfloat16"],
                    "Of transformers.")
  flags.DEFINE_bool("peer_compile", True, "Measure HF compiled.")
  flags.DEFINE_float("peak_tflops", 989.0, "bfloat16 products of the GPU, "
                     "without sparsity: H100 SXM and H200 989.")


def sort_batches(batches):
  """Deals the sequences of batches out anew, those of similar length together.

  Args:
    batches: list of dict of `steps.make_batch`.

  Returns:
    list of dict, as many, in a random order.
  """
  joined = {name: np.concatenate([batch[name] for batch in batches])
            for name in batches[0]}
  order = np.argsort(joined["input_mask"].sum(axis=1), kind="stable")
  parts = np.split(order, len(batches))
  np.random.RandomState(FLAGS.seed).shuffle(parts)
  return [{name: value[part] for name, value in joined.items()}
          for part in parts]


def start_peers():
  """Starts the processes of transformers; returns a dict from way to step."""
  settings = dict(
      task="train", head=FLAGS.head, config=steps.make_config().to_dict(),
      seed=FLAGS.seed, device=FLAGS.device, dtype=FLAGS.peer_dtype)
  eager = transformers_peer.Peer(**settings)
  print("Peer: " + eager.description, flush=True)
  ways = collections.OrderedDict()
  for name in ("HF padded", "HF longest", "HF sorted"):
    ways[name] = eager
  if FLAGS.peer_compile:
    ways["HF compiled"] = transformers_peer.Peer(compile=True, **settings)
  return ways


def ask(peer, batch):
  """Has a peer take a step; returns its seconds and bytes."""
  answer = peer.ask(**{name: value.tolist() for name, value in batch.items()})
  return answer["seconds"], answer["bytes"]


def measure(name, counts, peers, train_step, plain_step):
  """Takes the turns of a data set and prints them and what they sum up to."""
  batches = [batch for _, _, batch in steps.turns(counts)]
  alike = sort_batches(batches)
  taken, memory = collections.defaultdict(list), {}
  for turn, (batch, sorted_batch) in enumerate(zip(batches, alike)):
    for way, peer in peers.items():
      seconds, memory[way] = ask(peer, {
          "HF longest": transformers_step.cut(batch),
          "HF sorted": transformers_step.cut(sorted_batch)}.get(way, batch))
      taken[way].append(seconds)
    taken["ours"].append(train_step(batch))
    taken["ours float32"].append(plain_step(batch))
    print("%-6s %4d  %s" % (name, turn + 1 - FLAGS.warmup, "  ".join(
        "%s %.1f" % (way, 1e3 * each[-1]) for way, each in taken.items())),
          flush=True)
  if FLAGS.device == "cuda":
    memory["ours"] = tf.config.experimental.get_memory_info("GPU:0")["peak"]
  # Batches of similar length differ: their sum counts, for all ways.
  means = {way: np.mean(each[FLAGS.warmup:]) for way, each in taken.items()}
  for way, each in taken.items():
    print("%-6s %-12s mean %.1f ms, median %.1f (%.1f)  %.2f of ours%s" % (
        name, way, 1e3 * means[way], 1e3 * np.median(each[FLAGS.warmup:]),
        1e3 * min(each[FLAGS.warmup:]), means[way] / means["ours"],
        "  %.0f MB" % (memory[way] / 1e6) if memory.get(way) else ""))
  describe(name, batches, taken["ours"], train_step)


def describe(name, batches, taken, train_step):
  """Prints what bounds our step."""
  metadata = tf.RunMetadata()
  train_step(batches[-1], metadata)
  kinds = collections.Counter(
      node.timeline_label.split(" = ")[-1].split("(")[0].strip()
      for device in metadata.step_stats.dev_stats if "stream" not in
      device.device for node in device.node_stats)
  run = {kind: count for kind, count in kinds.items() if kind not in NAMES}
  usual = np.median(taken[FLAGS.warmup:])
  flops = np.median([arithmetic.count_step(
      steps.make_config(), FLAGS.head, batch) for batch in batches])
  print("%-6s %d operations in a step (%s); %d and %d sizes compiled, first "
        "step %.1f s, compiling %.1f s in all" % (
            name, sum(run.values()), ", ".join(
                "%d %s" % (count, kind) for kind, count in
                collections.Counter(run).most_common(5)),
            len({rows for rows, _ in train_step.sizes}),
            len({length for _, length in train_step.sizes}), taken[0],
            sum(seconds - usual for seconds in taken[:FLAGS.warmup])))
  print("%-6s %.1f GFLOP in %.1f ms: %.1f TFLOP/s, %.1f%% of %g" % (
      name, flops / 1e9, 1e3 * usual, flops / usual / 1e12,
      100 * flops / usual / FLAGS.peak_tflops / 1e12, FLAGS.peak_tflops))


def main(_):
  """Starts both sides, measures and prints."""
  # Both sides need room in the GPU's memory; TensorFlow would take all.
  os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
  if FLAGS.device == "cuda" and not tf.config.list_physical_devices("GPU"):
    sys.exit("TensorFlow finds no GPU; --device=cpu tries this on the CPU")
  found = steps.find_lengths()
  peers = start_peers()
  for name, counts in found.items():
    # Anew for each data set, so that each shows what it compiles.
    measure(name, counts, peers, steps.make_training(
        steps.make_config(), True, FLAGS.use_xla, FLAGS.compute_dtype),
            steps.make_training(steps.make_config(), True))
  steps.print_environment()
  for peer in set(peers.values()):
    peer.close()


if __name__ == "__main__":
  tf.logging.set_verbosity(tf.logging.ERROR)
  define_flags()
  app.run(main)
