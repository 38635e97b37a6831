#!/usr/bin/env bash
# SQuAD 1.1 from BERT-Base on one GPU, beside Hugging Face transformers' speed.
#
#   BERT_DIR=uncased_L-12_H-768_A-12 ./runs/gpu.sh SQUAD_DIR
#
# SQUAD_DIR has train-v1.1.json and dev-v1.1.json, BERT_DIR a published model.
# Two epochs at 3e-5 in batches of 32, length 384, bfloat16, compiled; then exact
# match and F1 of each seed, and in the same run examples per second beside
# transformers at its best (bfloat16, similar lengths together, or compiled).
# Finished trainings are not repeated. Prints rows for the table in
# runs/README.md.
#
#   OUT           folder for results (default: runs/output)
#   SEEDS         seeds, with commas (default: 1,2,3)
#   TORCH_PYTHON  interpreter with torch and transformers, if there is one
#   FLAGS_RUN, FLAGS_COMPARE  more flags of run_squad.py and compare.py, to try
#                 the script out without a GPU
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_run.sh"
read_argument "$@"

SQUAD_DIR=${ARGUMENT%/}
for file in train dev; do
  [ -e "$SQUAD_DIR/$file-v1.1.json" ] || die "no $SQUAD_DIR/$file-v1.1.json"
done
[ -e "${BERT_DIR:-}/bert_config.json" ] ||
  die "BERT_DIR=${BERT_DIR:-}: expected the folder of a published model"
setup_both

for seed in ${SEEDS//,/ }; do
  folder=$OUT/squad-seed$seed
  if [ ! -e "$folder/predictions.json" ]; then
    # shellcheck disable=SC2086  # several flags
    "$ENV_PYTHON" run_squad.py --do_train=true --do_predict=true \
      --train_file="$SQUAD_DIR/train-v1.1.json" \
      --predict_file="$SQUAD_DIR/dev-v1.1.json" \
      --vocab_file="$BERT_DIR/vocab.txt" \
      --bert_config_file="$BERT_DIR/bert_config.json" \
      --init_checkpoint="$BERT_DIR/bert_model.ckpt" --tf_random_seed="$seed" \
      --learning_rate=3e-5 --num_train_epochs=2 --train_batch_size=32 \
      --max_seq_length=384 --compute_dtype=bfloat16 --use_xla=true \
      --output_dir="$folder" ${FLAGS_RUN:-}
  fi
  "$ENV_PYTHON" squad_metrics.py --data_file="$SQUAD_DIR/dev-v1.1.json" \
    --predictions_file="$folder/predictions.json" > "$folder/metrics.json"
done
# shellcheck disable=SC2086  # several flags
"$ENV_PYTHON" benchmarks/gpu/compare.py --head=squad --data_sets=SQuAD \
  --max_seq_length=384 --batch_size=32 --torch_python="$TORCH_PYTHON" \
  ${FLAGS_COMPARE:-} | tee "$OUT/gpu.log"

# figure METRIC: prints its mean +- sample standard deviation over the seeds.
figure() {
  "$ENV_PYTHON" - "$1" "$OUT" "$SEEDS" << 'END'
import json, statistics, sys
metric, out, seeds = sys.argv[1:]
found = [json.load(open("%s/squad-seed%s/metrics.json" % (out, seed)))[metric]
         for seed in seeds.split(",")]
print("%.2f +- %s" % (statistics.mean(found), "%.2f" % statistics.stdev(found)
                      if len(found) > 1 else "?"))
END
}

# step_of PATTERN: prints the least mean of a step among the ways of a pattern.
step_of() {
  grep -E "^SQuAD +$1 +mean" "$OUT/gpu.log" |
    sed 's/.* mean \([0-9.]*\) ms.*/\1/' | sort -n | head -n 1
}

print_row "SQuAD 1.1 exact match" "$(figure exact_match)" -
print_row "SQuAD 1.1 F1" "$(figure f1)" -
print_row "ms for a step of 32 windows of 384" "$(step_of ours)" \
  "$(step_of 'HF [a-z]+')"
