"""The two heads that BERT is pre-trained with: masked words, next sentence.

Source: Devlin et al., arXiv 1810.04805, section 3.1.
"""

import sys

import tensorflow.compat.v1 as tf

import modeling


def get_masked_lm_output(bert_config, input_tensor, output_weights, positions,
                         label_ids, label_weights):
  """Predicts the masked word pieces.

  Args:
    bert_config: BertConfig.
    input_tensor: float32 [B, S, W]. The encoder's sequence output.
    output_weights: float32 [V, W]. The word embedding table, which serves as
      the output layer's weights too.
    positions: int32 [B, P]. Positions of the masked pieces.
    label_ids: int32 [B, P]. The pieces that were there.
    label_weights: float32 [B, P]. 1 for predictions, 0 for padding.

  Returns:
    loss: float32 scalar, the weighted mean.
    per_example_loss: float32 [B * P].
    log_probs: float32 [B * P, V].
  """
  input_tensor = gather_indexes(input_tensor, positions)  # [B * P, W]
  with tf.variable_scope("cls/predictions"):
    with tf.variable_scope("transform"):
      input_tensor = modeling.dense(
          input_tensor, bert_config.hidden_size,
          modeling.get_activation(bert_config.hidden_act),
          modeling.create_initializer(bert_config.initializer_range))
      input_tensor = modeling.layer_norm(input_tensor)
    output_bias = tf.get_variable(
        "output_bias", [bert_config.vocab_size],
        initializer=tf.zeros_initializer())
    logits = tf.matmul(input_tensor, output_weights, transpose_b=True)
    logits = tf.nn.bias_add(logits, output_bias)  # [B * P, V]
    per_example_loss = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.reshape(label_ids, [-1]), logits=logits)  # [B * P]

  label_weights = tf.reshape(tf.cast(label_weights, tf.float32), [-1])
  # The small number keeps a batch without any prediction from dividing by 0.
  loss = tf.reduce_sum(label_weights * per_example_loss) / (
      tf.reduce_sum(label_weights) + 1e-5)
  return loss, per_example_loss, tf.nn.log_softmax(logits)


def get_next_sentence_output(bert_config, input_tensor, labels):
  """Predicts whether the second segment follows the first in the text.

  Args:
    bert_config: BertConfig.
    input_tensor: float32 [B, W]. The encoder's pooled output.
    labels: int32 [B] or [B, 1]. 0 if it follows, 1 if it is from elsewhere.

  Returns:
    loss: float32 scalar, the mean.
    per_example_loss: float32 [B].
    log_probs: float32 [B, 2].
  """
  with tf.variable_scope("cls/seq_relationship"):
    output_weights = tf.get_variable(
        "output_weights", [2, bert_config.hidden_size],
        initializer=modeling.create_initializer(bert_config.initializer_range))
    output_bias = tf.get_variable(
        "output_bias", [2], initializer=tf.zeros_initializer())
    logits = tf.matmul(input_tensor, output_weights, transpose_b=True)
    logits = tf.nn.bias_add(logits, output_bias)  # [B, 2]
    per_example_loss = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.reshape(labels, [-1]), logits=logits)  # [B]
  return (tf.reduce_mean(per_example_loss), per_example_loss,
          tf.nn.log_softmax(logits))


def gather_indexes(sequence_tensor, positions):
  """Takes the vectors at some positions of each sequence.

  Args:
    sequence_tensor: float [B, S, W].
    positions: int32 [B, P].

  Returns:
    float [B * P, W].
  """
  batch_size, seq_length, width = modeling.get_shape_list(
      sequence_tensor, expected_rank=3)
  first_rows = tf.range(batch_size, dtype=tf.int32)[:, tf.newaxis] * seq_length
  rows = tf.reshape(first_rows + positions, [-1])  # [B * P]
  return tf.gather(tf.reshape(sequence_tensor, [-1, width]), rows)


if __name__ == "__main__":
  sys.exit("run_pretraining.py: holds the heads for programs to import; it "
           "cannot pre-train from the command line yet")
