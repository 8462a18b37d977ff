#!/usr/bin/env bash
# The plan's sweep: 11 LoRA configurations over compressed prompt embeddings, trained and scored on SQuAD.
#
#   SAMPLES=300 EPOCHS=1 bash scripts/sweep_phase1a_lora.sh     # smoke test
#   bash scripts/sweep_phase1a_lora.sh --resume                 # continue; arguments go to `thinwire sweep`
#
# SAMPLES, EPOCHS, BATCH_SIZE, MODEL, DATASET, EVAL_SAMPLES and OUTPUT_BASE (the results' folder) change the run.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/setup.sh"

arguments=()
setting() { if [ -n "$2" ]; then arguments+=(--set "$1=$2"); fi; }
setting data.samples "${SAMPLES:-}"
setting training.epochs "${EPOCHS:-}"
setting training.batch_size "${BATCH_SIZE:-}"
setting model.name "${MODEL:-}"
setting data.train "${DATASET:-}"
setting evaluation.samples "${EVAL_SAMPLES:-}"
if [ -n "${OUTPUT_BASE:-}" ]; then arguments+=(--output "$OUTPUT_BASE"); fi

exec thinwire sweep "$root/experiments/phase1a_lora.yaml" ${arguments[@]+"${arguments[@]}"} "$@"
