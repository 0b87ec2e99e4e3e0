#!/bin/bash
# One whole report in one allocation, with the options of 'vq-lib report'; many at once by many submissions:
#
#   sbatch reports/profiles/slurm/report.sh oasis-best --data DIR
#   for name in mine yours theirs; do sbatch reports/profiles/slurm/report.sh "$name" --data DIR; done
#
#SBATCH --job-name=vq-lib
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --gpus=1
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@120

cd "${SLURM_SUBMIT_DIR:-.}" || exit 2
if [ -n "${SLURM_JOB_GPUS:-${SLURM_GPUS_ON_NODE:-}}" ]; then
    device=$(.venv/bin/python -c 'from vq_lib import environment as e; e.start_keras(); from vq_lib.training.device import device; print(device())')
    case "$device" in CPU*) echo "Slurm granted a GPU, and Keras finds none: .venv lacks the extra [gpu], see README." ;; esac
fi
trap 'kill -TERM $!' TERM
.venv/bin/vq-lib report "$@" &
wait $!
status=$?
if [ "$status" -gt 128 ]; then # the time is nearly up; until here, wait ended at once
    wait $!
    status=$?
fi
if [ "$status" -eq 130 ] && [ -n "${SLURM_JOB_ID:-}" ]; then
    scontrol requeue "$SLURM_JOB_ID" # it goes on from the last whole epoch
fi
exit "$status"
