"""SQuAD: the records of windows that run_squad trains on and predicts."""

import contextlib

from .. import example_writer


class FeatureWriter(contextlib.AbstractContextManager):
  """Writes features as a TFRecord file, which appears once it is closed.

  In a `with` statement an error leaves no file.
  """

  def __init__(self, filename, is_training):
    """Opens the file.

    Args:
      filename: str.
      is_training: bool. Also writes the answers.
    """
    self.filename = filename
    self.num_features = 0
    self.is_training = is_training
    self._writer = example_writer.RecordWriter([filename], tokens={})
    self._writer.__enter__()

  def __exit__(self, *exception):
    self._writer.__exit__(*exception)

  def process_feature(self, feature):
    """Writes one InputFeatures."""
    self.num_features += 1
    values = {
        "unique_ids": [feature.unique_id], "input_ids": feature.input_ids,
        "input_mask": feature.input_mask, "segment_ids": feature.segment_ids}
    if self.is_training:
      values["start_positions"] = [feature.start_position]
      values["end_positions"] = [feature.end_position]
      values["is_impossible"] = [int(bool(feature.is_impossible))]
    self._writer.write(example_writer.serialize_ints(values))

  def close(self):
    """Gives the file its name."""
    self.__exit__(None, None, None)
