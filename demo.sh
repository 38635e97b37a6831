#!/usr/bin/env bash
# Trains a small sentence-pair classifier from scratch, evaluates it and
# predicts with it, on the data in sample_data: does the second sentence say the
# same as the first (1), or does it deny it (0)?
#
#   ./demo.sh
#   PYTHON=python3.13 ./demo.sh           # with another interpreter
#   OUT=/tmp/demo ./demo.sh               # results elsewhere than demo_output
#
# Each run writes to a new folder below OUT. setup_env.sh says what PYTHON and
# VENV do.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source ./setup_env.sh

OUT=${OUT:-demo_output}
NUM_TEST=$(($(wc -l < sample_data/test.tsv) - 1))
TABLE=

# row STEP SECONDS RUN RESULT: adds a row to the table at the end.
row() {
  TABLE+=$(printf '%-11s %7s  %-44s %s' "$@")$'\n'
}

# logged NAME COMMAND...: runs it, sets ELAPSED, shows the log where it fails.
logged() {
  local log=$RUN/$1.log start=$SECONDS
  shift
  echo "Running $2, log in $log ..."
  if ! "$@" > "$log" 2>&1; then
    tail -n 30 "$log" >&2
    die "$2 failed; the end of $log is above"
  fi
  ELAPSED=$((SECONDS - start))
}

# result NAME: prints the value of NAME in eval_results.txt.
result() {
  awk -v name="$1" '$1 == name && $2 == "=" { print $3; found = 1 }
    END { exit !found }' "$RUN/classifier/eval_results.txt" ||
    die "$RUN/classifier/eval_results.txt: no line '$1 = ...'"
}

classify() {
  local accuracy loss steps predicted
  logged classifier "$ENV_PYTHON" run_classifier.py \
    --task_name=MRPC \
    --do_train=true \
    --do_eval=true \
    --do_predict=true \
    --data_dir=sample_data \
    --vocab_file=sample_vocab.txt \
    --bert_config_file=sample_config.json \
    --max_seq_length=48 \
    --train_batch_size=32 \
    --learning_rate=3e-4 \
    --num_train_epochs=15 \
    --output_dir="$RUN/classifier"

  accuracy=$(result eval_accuracy)
  loss=$(result eval_loss)
  steps=$(result global_step)
  predicted=$(($(wc -l < "$RUN/classifier/test_results.tsv")))
  [ "$predicted" -eq "$NUM_TEST" ] ||
    die "$RUN/classifier/test_results.tsv: $predicted rows," \
      "expected $NUM_TEST as in sample_data/test.tsv"
  awk -v accuracy="$accuracy" 'BEGIN { exit !(accuracy >= 0.8) }' ||
    die "eval_accuracy = $accuracy, expected 0.8 or more after this training"

  row classifier "$ELAPSED" "run_classifier.py --do_train, sample_data" \
    "global_step = $steps"
  row "" "" "                  --do_eval" "eval_accuracy = $accuracy"
  row "" "" "" "eval_f1 = $(result eval_f1)"
  row "" "" "" "eval_loss = $loss"
  row "" "" "                  --do_predict" \
    "test_results.tsv: $predicted rows"
}

# Prints the first predictions beside the sentences they are about.
show_predictions() {
  echo "First rows of $RUN/classifier/test_results.tsv:"
  sed -n '2,5p' sample_data/test.tsv | cut -f 4,5 |
    paste "$RUN/classifier/test_results.tsv" - | head -n 4 |
    awk -F '\t' '{ printf "denies %.3f  same %.3f  %s | %s\n", $1, $2, $3, $4 }'
}

[ $# -eq 0 ] || die "takes no arguments, found: $*"
start=$SECONDS
# shellcheck disable=SC2119  # requirements.txt alone, no package besides
setup_env
VERSIONS=$(describe_env)
mkdir -p "$OUT"
RUN=$(mktemp -d "$OUT/$(date +%Y%m%d-%H%M%S)-XXXXXX")
row install "$((SECONDS - start))" "requirements.txt into $VENV" "$VERSIONS"
classify

echo
show_predictions
echo
printf '%-11s %7s  %-44s %s\n' step seconds "what was run" "what came out"
printf '%s' "$TABLE"
