#!/bin/bash
# One zoo by a Slurm job array: every task grows its share into the same folder, the last to end completes the zoo.
#
#   sbatch --array=1-8 scripts/slurm_generate.sh recipe=small_cnn data=mnist n=30000 out=/shared/zoos/mnist
#
# A task that is killed or requeued goes on where it stopped. Several GPUs of a node: one task each.
#SBATCH --job-name=metanet
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --requeue
set -euo pipefail
: "${SLURM_ARRAY_TASK_ID:?run this with sbatch --array=1-N}"
exec metanet generate "$@" shard="$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" threads="${SLURM_CPUS_PER_TASK:-1}"
