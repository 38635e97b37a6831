"""What a script's --help prints, and what it says about a mistyped flag."""

import difflib
import platform
import re
import sys
import textwrap

from absl import flags

from . import __version__

_WIDTH = 79

OWN = "Flags of this program"

# Flags of the scripts in the order in which --help lists them. Flags that are
# not here follow those of their group, see `cli.define_flag`.
_GROUPS = [
    (OWN, ""),
    ("Data", """
     task_name data_dir train_file dev_file test_file predict_file text_a
     text_b label text multi_label label_separator regression table_format
     dev_share
     word_column tag_column tag_scheme context
     xnli_language train_language data_file predictions_file null_odds_file
     input_file eval_input_file output_file max_seq_length long_text
     window_stride window_pooling doc_stride max_query_length
     version_2_with_negative split_long_lines max_predictions_per_seq
     masked_lm_prob dupe_factor do_whole_word_mask whole_word_segmented
     short_seq_prob truncate_segment_prob random_seed shard_size num_workers
     beam_runner beam_args skip_bad_records vocab_size min_frequency
     character_coverage heldout_file compare_vocab_file extend words_file
     num_words evidence_dir max_words sample_share"""),
    ("Model", """
     model_dir task bert_hub_module_handle bert_config_file vocab_file
     init_checkpoint init_head do_lower_case strip_accents labels layers
     pooling"""),
    ("Training", """
     do_train train_batch_size gradient_accumulation_steps auto_micro_batch
     learning_rate poly_power optimizer num_train_epochs num_train_steps
     warmup_proportion warmup_steps num_warmup_steps adam_bias_correction
     layerwise_lr_decay reinit_layers reinit_pooler class_weights
     label_smoothing teacher_dir temperature label_share transfer_file augment
     masked_lm_dir
     use_next_sentence shuffle_buffer_size tf_random_seed
     num_seeds search k_folds split_seed keep_all_runs
     save_checkpoints_steps keep_checkpoint_max log_steps verbose"""),
    ("Results", """
     output_dir do_eval do_predict eval_batch_size predict_batch_size
     eval_steps eval_each_epoch best_metric early_stopping_patience use_best
     max_eval_steps calibrate_on allowed_loss n_best_size max_answer_length
     null_score_diff_threshold verbose_logging num_guesses output_format
     export_dir format int8_scales hub_dir max_shard_mb glue_submission_dir
     tune_thresholds valid_tags_only plots"""),
    ("Device", """
     batch_size remove_padding recompute_grad compute_dtype use_xla
     xla_cache_dir use_one_hot_embeddings num_gpus worker_hosts
     task_index use_tpu tpu_name
     tpu_zone gcp_project num_tpu_cores iterations_per_loop master"""),
]

_VALUES = {"path": "PATH", "paths": "PATHS", "integer": "N", "float": "X",
           "string": "TEXT", "switch": "auto|true|false"}

# Names that flags have in other programs, and what to do here: the first phrase
# whose flags the script has.
_ELSEWHERE = [
    ("lr", "use --learning_rate"),
    ("batch_size per_device_train_batch_size per_device_eval_batch_size bs",
     "use --train_batch_size, --eval_batch_size and --predict_batch_size",
     "use --train_batch_size and --predict_batch_size",
     "use --train_batch_size and --eval_batch_size", "use --batch_size"),
    ("max_length max_len max_seq_len model_max_length", "use --max_seq_length"),
    ("epochs num_epochs n_epochs", "use --num_train_epochs",
     "use --num_train_steps, records * epochs / --train_batch_size"),
    ("max_steps num_steps steps", "use --num_train_steps",
     "use --num_train_epochs, which may be a fraction: steps * "
     "--train_batch_size / examples"),
    ("warmup_steps warmup_ratio warmup num_warmup_steps warmup_proportion",
     "use --warmup_proportion, a share of all steps", "use --num_warmup_steps"),
    ("weight_decay wd", "leave it out: it is 0.01, as in BERT's own training, "
     "with --learning_rate"),
    ("train_file train_data dataset dataset_name", "use --data_dir, the folder "
     "with train.tsv and dev.tsv, or --train_file with --task_name=table",
     "use --train_file", "use --input_file"),
    ("validation_file dev_file eval_file test_file", "use --data_dir, the "
     "folder with dev.tsv and test.tsv, or --dev_file and --test_file with "
     "--task_name=table", "use --dev_file and --test_file",
     "use --predict_file",
     "use --eval_input_file"),
    ("model_name_or_path model_name model pretrained_model",
     "use --bert_hub_module_handle", "use --model_dir",
     "use --init_checkpoint, a checkpoint on disk, with its --bert_config_file "
     "and --vocab_file", "use --init_checkpoint, a checkpoint on disk, with "
     "its --bert_config_file"),
    ("config config_name config_file", "use --bert_config_file"),
    ("tokenizer tokenizer_name vocab", "use --vocab_file"),
    ("accumulate_grad_batches grad_accumulation_steps accum_steps",
     "use --gradient_accumulation_steps"),
    ("auto_find_batch_size", "use --auto_micro_batch"),
    ("cased uncased lower_case", "use --do_lower_case=false for a cased model, "
     "if its vocabulary does not show it"),
    ("seed", "use --tf_random_seed", "use --random_seed"),
    ("train", "use --do_train"), ("eval evaluate", "use --do_eval"),
    ("test do_test predict", "use --do_predict"),
    ("logging_steps", "use --log_steps"),
    ("save_steps", "use --save_checkpoints_steps"),
    ("save_total_limit", "use --keep_checkpoint_max"),
    ("overwrite_output_dir overwrite resume resume_from_checkpoint",
     "leave it out: a training in --output_dir is resumed; to start from "
     "scratch, name another folder"),
    ("xla jit_compile", "use --use_xla"),
    ("fp16 bf16 amp mixed_precision precision dtype",
     "use --compute_dtype=bfloat16, or float16 on older GPUs",
     "leave it out: everything is computed in float32"),
    ("early_stopping patience", "use --early_stopping_patience, with "
     "--eval_steps"),
    ("metric_for_best_model", "use --best_metric"),
    ("load_best_model_at_end", "use --use_best"),
    ("evaluation_strategy eval_strategy", "use --eval_steps or "
     "--eval_each_epoch", "use --eval_steps"),
    ("gpus n_gpu num_gpu ngpus num_gpus", "use --num_gpus",
     "leave it out: TensorFlow uses a GPU if it finds one"),
    ("gpu gpu_id gpu_ids device cuda use_gpu",
     "leave it out: TensorFlow uses a GPU if it finds one; "
     "CUDA_VISIBLE_DEVICES=1 in the environment picks the second, -1 none"),
    ("dropout hidden_dropout_prob attention_probs_dropout_prob",
     "set hidden_dropout_prob and attention_probs_dropout_prob in the file of "
     "--bert_config_file")]


def own_flags():
  """Returns the names of all flags except those of absl and TensorFlow."""
  return [name for name in flags.FLAGS if not re.match(
      r"(absl|tensorflow\w*)(\.(?!py$)|$)",
      str(flags.FLAGS.find_module_defining_flag(name)))]


def asks_for_help(argv):
  """Returns whether one of the arguments is -h or --help."""
  return not {"-h", "--help", "-help", "--h", "-?"}.isdisjoint(argv[1:])


def asks_for_version(argv):
  """Returns whether one of the arguments is --version."""
  return "--version" in argv[1:]


def format_version():
  """Returns the line that --version prints."""
  tensorflow = getattr(sys.modules.get("tensorflow"), "__version__", None)
  return "bert-suite %s, Python %s%s\n" % (
      __version__, platform.python_version(),
      ", TensorFlow " + tensorflow if tensorflow else "")


def format_help(program, description, required):
  """Formats what --help prints about the flags that are defined.

  Args:
    program: str. Name of the script.
    description: str, or None. What it does, with an example.
    required: names of the flags that must be passed.
  """
  command = "python " + program if program.endswith(".py") else program
  parts = ["Usage: %s --flag=value ..." % command]
  if description:
    parts.append(description.strip("\n").rstrip())
  names = [name for name in own_flags()
           if not hasattr(flags.FLAGS[name], "alias_of")]
  grouped = {title: [name for name in group.split() if name in names]
             for title, group in _GROUPS}
  listed = sum(grouped.values(), [])
  for name in names:
    if name not in listed:
      title = getattr(flags.FLAGS[name], "group", OWN)
      grouped.setdefault(title, []).append(name)
  for title, group in grouped.items():
    if group:
      # Required ones come first, where they are easy to find.
      group.sort(key=lambda name: name not in required)
      parts.append("\n".join([title + ":"] + [
          _format_flag(name, name in required) for name in group]))
  parts.append(textwrap.fill(
      "--flagfile=PATH reads flags from a file, one per line; --helpfull also "
      "lists the flags of absl and TensorFlow; --version prints the versions.",
      _WIDTH))
  return "\n\n".join(parts) + "\n"


def _format_flag(name, is_required):
  """Returns the lines about a flag."""
  flag = flags.FLAGS[name]
  spellings = [name] + [
      alias for alias in own_flags()
      if getattr(flags.FLAGS[alias], "alias_of", None) == name]
  value = _VALUES.get(getattr(flag, "kind", None),
                      "true|false" if flag.boolean else "VALUE")
  head = "  " + ", ".join("--%s=%s" % (one, value) for one in spellings)
  if is_required:
    head += "  (required)"
  default = _default_of(flag)
  notes = [] if default is None else ["default: " + default]
  notes += [one.message.replace("expected ", "", 1) for one in flag.validators
            if hasattr(one.checker, "bound")]
  notes = ["(%s)" % "; ".join(notes)] if notes else []
  return "\n".join([head] + textwrap.wrap(
      " ".join([flag.help] + notes), _WIDTH, initial_indent=" " * 6,
      subsequent_indent=" " * 6, break_on_hyphens=False,
      break_long_words=False))


def _default_of(flag):
  """Returns what --help says of a flag's default, None for nothing."""
  default = getattr(flag, "default_text", None)
  if default is None and flag.default not in (None, ""):
    # absl writes every value except false as true.
    default = (flag.default if isinstance(flag.default, str) else
               flag.default_as_str.strip("'"))
  return default


def is_default(flag):
  """Returns whether a flag, absl's object, was not given."""
  # Its second name marks it as present, but leaves using_default_value True.
  return flag.using_default_value and not flag.present


def figure_of(flag):
  """Returns the number that a flag sets, given or by default, as str."""
  value = _default_of(flag) if is_default(flag) else flag.value
  return str(value).split(" ")[0]


def advise(name, own=None):
  """Returns what to do instead of passing a flag that does not exist, or "".

  Args:
    name: str. The flag, without its dashes.
    own: names of the flags that exist; None for those of the script.
  """
  own = set(own_flags() if own is None else own)
  name = name.replace("-", "_").lower()
  for names, *phrases in _ELSEWHERE:
    if not {name, re.sub("^no_?", "", name)}.isdisjoint(names.split()):
      for phrase in phrases:
        if own.issuperset(re.findall(r"--(\w+)", phrase)):
          return phrase
  near = [flag for flag in own if flag.startswith(name + "_")]
  if len(near) != 1:
    near = difflib.get_close_matches(name, sorted(own), n=1, cutoff=0.75)
  return "did you mean --%s?" % near[0] if near else ""
