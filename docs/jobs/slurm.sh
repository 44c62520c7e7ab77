#!/bin/bash
# A sweep as a job array: each task is one shard, and takes its number from
# SLURM_ARRAY_TASK_ID and how many there are from SLURM_ARRAY_TASK_COUNT.
#
#   sbatch slurm.sh
#   kvc sweep merge results --html sweep.html      # when all tasks have ended
#
# A task that is requeued goes on where its shard was. To run some tasks alone
# again (sbatch --array=3,5), say the count: --shard "$SLURM_ARRAY_TASK_ID/8".
#SBATCH --job-name=kvc-sweep
#SBATCH --array=0-7
#SBATCH --cpus-per-task=4
#SBATCH --mem=4G
#SBATCH --time=02:00:00
#SBATCH --requeue

exec kvc sweep \
  --requests chat \
  --model llama-3.1-8b,llama-3.1-70b-fp8 --gpu l4,a100-80gb,h100 \
  --memory 0.8,0.85,0.9,0.95 --compression none,rate:0.5,rate:0.25,tokens:512 \
  --max-num-seqs 16,32,64,128,256 --max-num-batched-tokens 8192 \
  --workers "${SLURM_CPUS_PER_TASK:-0}" \
  --shard auto -o results
