"""Tests of what the benchmarks compute themselves."""

import os
import sys
import unittest

import numpy as np

import modeling

sys.path.insert(0, os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "benchmarks"))

# pylint: disable=wrong-import-position
import arithmetic
import lengths
import steps


class ArithmeticTest(unittest.TestCase):

  def test_one_sequence_by_hand(self):
    config = modeling.BertConfig(
        vocab_size=7, hidden_size=2, num_hidden_layers=3,
        num_attention_heads=1, intermediate_size=5)
    # 4 tokens: four products of 4x2 with 2x2, two with 2x5; 16 pairs, twice.
    layer = 4 * (2 * 4 * 2 * 2) + 2 * (2 * 4 * 2 * 5) + 2 * (2 * 16 * 2)
    pooled = 2 * 2 * 2 + 2 * 2 * 2
    self.assertEqual(3 * layer + pooled,
                     arithmetic.count_forward(config, "classifier", [4]))
    self.assertEqual(3 * layer + 2 * 4 * 2 * 2,
                     arithmetic.count_forward(config, "squad", [4]))
    self.assertEqual(
        3 * layer + pooled + 2 * 3 * 2 * 2 + 2 * 3 * 2 * 7,
        arithmetic.count_forward(config, "pretraining", [4], 3))

  def test_padding_counts_nothing(self):
    config = modeling.BertConfig(
        vocab_size=7, hidden_size=4, num_attention_heads=1,
        num_hidden_layers=1, intermediate_size=16)
    mask = np.array([[1, 1, 1, 0], [1, 1, 0, 0]])
    self.assertEqual(
        3 * arithmetic.count_forward(config, "classifier", [3, 2]),
        arithmetic.count_step(config, "classifier", {"input_mask": mask}))


class MaskTokensTest(unittest.TestCase):

  def test_masks_real_tokens_only(self):
    random = np.random.RandomState(1)
    batch = lengths.make_batch(random, {5: 1, 40: 1}, 8, 64, 100)
    masked = steps.mask_tokens(random, batch, 4)
    weights, positions = [
        masked["masked_lm_" + name] for name in ("weights", "positions")]
    for row, length in enumerate(batch["input_mask"].sum(axis=1)):
      number = {5: 1, 40: 4}[length]  # 15%, 4 at most
      self.assertEqual([1] * number + [0] * (4 - number), weights[row].tolist())
      chosen = positions[row, :number]
      self.assertEqual(number, len(set(chosen)))
      self.assertTrue((chosen < length).all())
      self.assertEqual(batch["input_ids"][row, chosen].tolist(),
                       masked["masked_lm_ids"][row, :number].tolist())


if __name__ == "__main__":
  unittest.main()
