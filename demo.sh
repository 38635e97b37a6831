#!/usr/bin/env bash
# Trains a small sentence-pair classifier from scratch, evaluates it and
# predicts with it, on the data in sample_data: does the second sentence say the
# same as the first (1), or does it deny it (0)?
#
#   ./demo.sh
#   PYTHON=python3.13 ./demo.sh           # with another interpreter
#   OUT=/tmp/demo ./demo.sh               # results elsewhere than demo_output
#
# Each run writes to a new folder below OUT. Variables of the environment:
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source ./setup_env.sh
help_if_asked "$@"

OUT=${OUT:-demo_output}
NUM_DEV=$(($(wc -l < sample_data/dev.tsv) - 1))
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
  # What is predicted is the dev set too, whose right labels are known.
  mkdir "$RUN/data"
  cp sample_data/train.tsv sample_data/dev.tsv "$RUN/data"
  cp sample_data/dev.tsv "$RUN/data/test.tsv"

  logged classifier "$ENV_PYTHON" run_classifier.py \
    --task_name=MRPC \
    --do_train=true \
    --do_eval=true \
    --do_predict=true \
    --data_dir="$RUN/data" \
    --vocab_file=sample_data/sample_vocab.txt \
    --bert_config_file=sample_data/sample_config.json \
    --max_seq_length=48 \
    --train_batch_size=32 \
    --learning_rate=3e-4 \
    --num_train_epochs=15 \
    --output_dir="$RUN/classifier"

  accuracy=$(result eval_accuracy)
  loss=$(result eval_loss)
  steps=$(result global_step)
  predicted=$(($(wc -l < "$RUN/classifier/test_results.tsv")))
  [ "$predicted" -eq "$NUM_DEV" ] ||
    die "$RUN/classifier/test_results.tsv: $predicted rows," \
      "expected $NUM_DEV as in sample_data/dev.tsv"
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

# Prints the first predictions, and some of the wrong ones, beside the right
# labels and the sentences.
show_predictions() {
  echo "Predictions for sample_data/dev.tsv (0 denies, 1 says the same):"
  echo
  echo "       predicted  expected"
  tail -n +2 sample_data/dev.tsv |
    paste "$RUN/classifier/test_results.tsv" - |
    awk -F '\t' '{
        predicted = $2 > $1 ? 1 : 0
        is_wrong = predicted != $3
        wrong += is_wrong
        if (NR <= 4 || is_wrong && wrong <= 3)
          printf "%-5s  %d (%.3f)  %d      %s | %s\n",
            is_wrong ? "WRONG" : "", predicted, $(predicted + 1), $3, $6, $7
      }
      END { printf "\n%d of %d predictions are wrong.\n", wrong, NR }'
}

# Prints commands to go on with, which can be pasted.
show_next_steps() {
  echo "Try next: activate the environment,"
  printf '\n  cd %q && source %q\n\n' "$PWD" "$VENV/bin/activate"
  echo "predict a sentence of your own (the probabilities of 0, it denies the"
  echo "first one, and of 1, it says the same),"
  printf "\n  python -c '%s' \\\\\n    %q \\\\\n    %s %s\n\n" \
    'import predictor, sys; print(predictor.Predictor(sys.argv[1]).predict([tuple(sys.argv[2:])]))' \
    "$RUN/classifier" '"Anna closed the old window."' \
    '"Anna never closed the old window."'
  echo "and fine-tune a pre-trained model on MRPC; README.md says where to get"
  echo "the two folders:"
  cat << 'END'

  export BERT_DIR=/path/to/uncased_L-12_H-768_A-12 GLUE_DIR=/path/to/glue
  python run_classifier.py --task_name=MRPC --data_dir=$GLUE_DIR/MRPC \
    --do_train=true --do_eval=true --vocab_file=$BERT_DIR/vocab.txt \
    --bert_config_file=$BERT_DIR/bert_config.json \
    --init_checkpoint=$BERT_DIR/bert_model.ckpt --learning_rate=2e-5 \
    --output_dir=/tmp/mrpc_output

END
  echo "A CSV of your own: \"Your own data\" in README.md. Labels, reports, long"
  echo "texts: docs/classification.md. Odd results: docs/troubleshooting.md."
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
echo
echo "Its files are in $RUN: the log, and in classifier/ the checkpoint,"
echo "eval_results.txt and test_results.tsv, a row of probabilities per pair."
echo
show_next_steps
