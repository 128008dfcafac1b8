#!/usr/bin/env bash
# Makes the demo's teacher: a ViT of 28 px, patch 4, width 96, depth 6, supervised on Fashion-MNIST's 60,000 training
# images. train_teacher.sh OUT. README.md beside this file says what came out when the committed one was made.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly data=/usr/share/datasets/fashion-mnist
exec build/release/bin/afterimage-train supervise \
  --images "$data/train-images-idx3-ubyte.gz" --test-images "$data/t10k-images-idx3-ubyte.gz" --out "$1" \
  --image-size 28 --patch-size 4 --width 96 --depth 6 --heads 3 --batch-size 128 --lr 1e-3 --weight-decay 0.05 \
  --warmup-epochs 0.5 --drop-path 0.05 --label-smoothing 0.1 --min-area 1/3 --epochs "${EPOCHS:-20}" --threads 1 --export-dtype f16
