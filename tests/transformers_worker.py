"""Computes with transformers; convert_checkpoint_test.py runs it elsewhere.

  python transformers_worker.py INPUTS ARCHITECTURE FOLDER SAVE_TO OUTPUTS ...

Loads a model from a folder, or makes one with the config there if it has no
weights, and saves it to another folder if that is not "". Of inputs, an .npz
file with input_ids, input_mask and segment_ids, it writes the outputs, and how
the tokenizer of the folder reads a text, to another one. The last four
arguments may follow again for further models.
"""

import json
import os
import sys

import numpy as np
import torch
import transformers


def compute(inputs, architecture, folder, save_to, outputs):
  torch.manual_seed(1)
  kind = getattr(transformers, architecture)
  if any(name.startswith("model") for name in os.listdir(folder)):
    model, said = kind.from_pretrained(folder, output_loading_info=True)
    assert not said["missing_keys"] and not said["mismatched_keys"], said
    assert all("pooler" in key for key in said["unexpected_keys"]), said
  else:
    model = kind(transformers.BertConfig.from_pretrained(folder))
    with torch.no_grad():
      for name, parameter in model.named_parameters():
        # As large as those of a trained model, and no bias is 0.
        if name.endswith("bias") or "LayerNorm" in name:
          parameter.add_(0.1 * torch.randn_like(parameter))
        else:
          parameter.mul_(3.0)
  model = model.eval()
  if save_to:
    model.save_pretrained(save_to)
  arrays = np.load(inputs)
  with torch.inference_mode():
    found = model(
        input_ids=torch.from_numpy(arrays["input_ids"]),
        attention_mask=torch.from_numpy(arrays["input_mask"]),
        token_type_ids=torch.from_numpy(arrays["segment_ids"]))
  arrays = {name: value.numpy() for name, value in found.items()}
  tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
  arrays["text"] = "The CAT sing\u00e9, unheard of!"
  arrays["tokens"] = tokenizer(str(arrays["text"]))["input_ids"]
  arrays["id2label"] = json.dumps(
      [model.config.id2label[i] for i in range(model.config.num_labels)])
  np.savez(outputs, **arrays)


def main():
  transformers.logging.set_verbosity_error()
  inputs, *jobs = sys.argv[1:]
  for i in range(0, len(jobs), 4):
    compute(inputs, *jobs[i:i + 4])


if __name__ == "__main__":
  main()
