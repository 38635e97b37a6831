"""Settings that TensorFlow reads at its import; scripts import this first.

Whatever is set in the environment already stays as it is.
"""

import os

# TensorFlow starts with a dozen lines about drivers and instruction sets that
# say nothing about the user's run. Errors still show; 0 shows everything.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# TensorFlow leaves oneDNN's kernels off on CPUs without AVX-512 VNNI. Packed
# training takes 1.2 to 1.3 times as long without them there too
# (benchmarks/onednn.py).
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
