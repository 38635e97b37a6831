"""Converts Hugging Face and Model Garden models to the reference's, and back.

`hugging_face` reads and writes a folder of transformers, `model_garden` reads
a checkpoint of TensorFlow 2; `models` has what both produce, and its checks.
"""
