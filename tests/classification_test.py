"""Tests of the task of classifiers."""

import numpy as np
import tensorflow.compat.v1 as tf

from bert_suite import task_names
import run_classifier


def test_figures_have_all_their_digits(tmp_path):
  task = run_classifier.ClassificationTask(
      run_classifier.Settings(
          task_name="RTE", do_eval=True, output_dir=str(tmp_path),
          vocab_file="", bert_config_file=""),
      None, None, lambda is_training, *inputs: tf.ones([3, 4]),
      task_names.PROCESSORS["rte"]())
  task.check()
  with tf.Graph().as_default():
    features = dict.fromkeys(
        ["input_ids", "input_mask", "segment_ids", "label_ids"],
        tf.zeros([3], tf.int32))
    compute, _, names = task.head(features, False).metrics
  found = compute(
      logits=np.float32([[0, 1], [0, 1], [0, 1]]),
      label_ids=np.array([1, 1, 0]), is_real_example=np.ones([3]),
      per_example_loss=np.float32([0.1, 0.2, 0.3]))
  assert sorted(names) == ["eval_accuracy", "eval_f1", "eval_loss"]
  estimated = {name: np.float32(found[name]) for name in names}
  results = task.figures(dict(estimated, loss=0.5))
  assert (results["eval_accuracy"], results["eval_f1"]) == (2 / 3.0, 0.8)
  assert results["eval_loss"] == estimated["eval_loss"]
  assert results["loss"] == 0.5
