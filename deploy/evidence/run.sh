#!/usr/bin/env bash
# The experiment behind precompute's defaults (docs/evidence.md): which features to store for a given number of bytes.
#
#   deploy/evidence/run.sh --images PATH --test-images PATH --out FOLDER
#                          [--limit N] [--epochs N] [--seeds "1 2 3"] [--teacher FILE] [--threads N] [--only NAME]
#
# --images, --test-images  labelled pictures of 32 x 32 (folder, tar or a pattern of tars)
# --out       caches, runs and results.jsonl; what is there already is not done again
# --limit     pictures that students learn from (default 3000); the teacher learns from all of them
# --epochs    of a student (default 30)
# --seeds     of the students (default "1 2 3")
# --teacher   instead of training one
# --only      one configuration: fresh, all-1, visible-3, all-4, visible-12 or visible-masks
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly bin="$PWD/build/release/bin"
images="" test_images="" out="" teacher="" only=""
limit=3000 epochs=30 seeds="1 2 3" threads=0
while (( $# > 0 )); do
  case "$1" in
    --images) images="$2" ;;
    --test-images) test_images="$2" ;;
    --out) out="$2" ;;
    --limit) limit="$2" ;;
    --epochs) epochs="$2" ;;
    --seeds) seeds="$2" ;;
    --teacher) teacher="$2" ;;
    --threads) threads="$2" ;;
    --only) only="$2" ;;
    *) sed -n '2,13s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
  esac
  shift 2
done
[[ -n $images && -n $test_images && -n $out ]] || { sed -n '2,13s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
mkdir -p "$out"
# What is run is told on stderr: stdout may go into a file.
run() { printf '$ %s\n' "${*/#"$bin/"/}" >&2; "$@"; }

if [[ -z $teacher ]]; then
  teacher="$out/teacher/model.safetensors"
  [[ -e $out/teacher/summary.json ]] ||
    run "$bin/afterimage-train" supervise --images "$images" --test-images "$test_images" --out "$out/teacher" \
      --image-size 32 --patch-size 4 --width 96 --depth 6 --heads 3 --epochs 6 --warmup-epochs 0.5 \
      --batch-size 128 --drop-path 0 --min-area 1/2 --threads "$threads"
fi

# Name, and how precompute is told what to store. In each pair the bytes are about equal; they are measured.
configurations() {
  echo "fresh -"
  echo "all-1 --tokens all --view-seeds 1"
  echo "visible-3 --tokens visible --view-seeds 3"
  echo "all-4 --tokens all --view-seeds 4"
  echo "visible-12 --tokens visible --view-seeds 12"
  echo "visible-masks --tokens visible --masks 3 --view-seeds 7"
}

# One student: trained, and measured in three ways. Its line goes to results.jsonl.
student() {
  local name="$1" seed="$2"
  local folder="$out/runs/$name-$seed"
  [[ -e $folder/result.json ]] && return
  local features=(--cache "$out/caches/$name")
  [[ $name == fresh ]] &&
    features=(--teacher "$teacher" --images "$images" --images-limit "$limit" --fresh)
  run "$bin/afterimage-train" pretrain "${features[@]}" --out "$folder" --width 96 --depth 6 --heads 3 \
    --batch-size 128 --epochs "$epochs" --lr 1e-3 --drop-path 0 --image-every 0 --seed "$seed" --threads "$threads"
  run "$bin/afterimage-train" validate --checkpoint "$folder" --teacher "$teacher" --images "$images" \
    --images-limit "$limit" --fresh --threads "$threads" --json > "$folder/fresh_views.json"
  run "$bin/afterimage-train" validate --checkpoint "$folder" --teacher "$teacher" --images "$test_images" \
    --images-limit 2000 --fresh --threads "$threads" --json > "$folder/fresh_pictures.json"
  run "$bin/afterimage-train" export --checkpoint "$folder" --out "$folder/student.safetensors"
  run "$bin/afterimage-train" knn --weights "$folder/student.safetensors" --images "$images" --limit "$limit" \
    --test-images "$test_images" --k 20 --threads "$threads" --json > "$folder/knn.json"
  run "$bin/afterimage-train" finetune --weights "$folder/student.safetensors" --images "$images" --limit "$limit" \
    --test-images "$test_images" --pool mean --layer-decay 0.75 --drop-path 0 --batch-size 128 \
    --epochs 5 --warmup-epochs 1 --lr 1e-3 --min-area 1/2 --rand-augment none --random-erasing 0 --mixup 0 --cutmix 0 \
    --evaluate-every 5 --seed "$seed" --threads "$threads" --out "$folder/finetuned"
  local bytes=0
  [[ $name == fresh ]] || bytes=$(du -sb "$out/caches/$name/sets" | cut -f1)
  python3 deploy/evidence/report.py result "$folder" "$name" "$seed" "$bytes" > "$folder/result.json.part"
  mv "$folder/result.json.part" "$folder/result.json"
}

while read -r name flags; do
  [[ -z $only || $only == "$name" ]] || continue
  if [[ $name != fresh && ! -e $out/caches/$name/done ]]; then
    # shellcheck disable=SC2086  # the flags are words
    run "$bin/afterimage-precompute" --images "$images" --limit "$limit" --teacher "$teacher" \
      --cache "$out/caches/$name" --codec f16 --teacher-threads "$threads" $flags
    touch "$out/caches/$name/done"
  fi
done < <(configurations)
for seed in $seeds; do
  while read -r name _; do
    [[ -z $only || $only == "$name" ]] || continue
    student "$name" "$seed"
  done < <(configurations)
done
cat "$out"/runs/*/result.json > "$out/results.jsonl"
python3 deploy/evidence/report.py table "$out/results.jsonl"
