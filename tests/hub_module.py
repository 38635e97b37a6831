"""TensorFlow Hub, and which tests need hub.Module, or that it is not there."""

import pytest

try:
  import tensorflow_hub as hub
except ImportError:  # not installed, or not made for this TensorFlow
  hub = None

with_module = pytest.mark.skipif(
    not hasattr(hub, "Module"), reason="hub.Module is not there")
without_module = pytest.mark.skipif(
    hasattr(hub, "Module"), reason="hub.Module is there")
