#!/usr/bin/env bash
# Afterimage in eight minutes: sets up, builds, and runs the main job end to end on real photographs.
#
#   deploy/demo.sh [--images PATH [--test-images PATH]] [--out FOLDER] [--train-teacher] [--epochs N] [--no-build]
#
# --images         your own pictures (folder, tar, idx) instead of 8,000 of Debian's dataset-fashion-mnist
# --test-images    held-out labelled pictures for the k-NN comparison; without them that step is left out for your own pictures
# --out            where cache, student, picture and logs go (default: build/demo; its earlier content is removed)
# --train-teacher  makes the small teacher anew first (about an hour) instead of taking the committed one
# --epochs         of the student (default 20)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly data=/usr/share/datasets/fashion-mnist
images="$data/train-images-idx3-ubyte.gz"
test_images="$data/t10k-images-idx3-ubyte.gz"
limit=8000
out=build/demo
teacher=deploy/demo/teacher.safetensors
train_teacher=no build=yes epochs=20

usage() { sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
while (( $# > 0 )); do
  case "$1" in
    --images) images="$2"; test_images=""; limit=0; shift 2 ;;
    --test-images) test_images="$2"; shift 2 ;;
    --out) out="$2"; shift 2 ;;
    --epochs) epochs="$2"; shift 2 ;;
    --train-teacher) train_teacher=yes; shift ;;
    --no-build) build=no; shift ;;
    -h|--help) usage; exit 0 ;;
    *) echo "demo: unknown argument '$1'" >&2; usage >&2; exit 2 ;;
  esac
done

if [[ $build == yes ]]; then
  bash deploy/setup.sh
  bash deploy/build.sh release
fi
readonly bin="$PWD/build/release/bin"
[[ -x $bin/afterimage-train ]] || { echo "demo: $bin has no programs; run without --no-build" >&2; exit 1; }

started=$SECONDS
mkdir -p "$out"
rm -rf "${out:?}/cache" "$out/student" "$out/cached" "$out/online" "$out/logs" "$out/views.png" "$out/student.safetensors"
mkdir -p "$out/logs"
server_pid=""
stop_server() { [[ -z $server_pid ]] || { kill -TERM "$server_pid" 2>/dev/null && wait "$server_pid" || true; server_pid=""; }; }
trap stop_server EXIT
trap 'stop_server; exit 130' INT TERM
step() { printf '\n== %s  [%d s]\n' "$1" $((SECONDS - started)); }
run() { printf '$ %s\n' "${*/#"$bin/"/}"; "$@"; }

step "1. the teacher: a small ViT, frozen"
if [[ $train_teacher == yes ]]; then
  run bash deploy/demo/train_teacher.sh "$out/teacher"
  teacher="$out/teacher/model.safetensors"
fi
echo "$teacher: $(stat -c %s "$teacher") bytes, SHA-256 $(sha256sum "$teacher" | cut -c1-16)…"

step "2. precompute: the teacher looks once"
precompute=("$bin/afterimage-precompute" --images "$images" --limit "$limit" --teacher "$teacher" --cache "$out/cache"
  --view-seeds 2 --tokens all --codec f32 --epochs "$epochs" --name demo)
run "${precompute[@]}"

step "3. look inside"
run "$bin/afterimage" info --cache "$out/cache"
run "$bin/afterimage" picture --cache "$out/cache" --out "$out/views.png" --count 6

step "4. the server, and a student that is given nothing but its address"
"$bin/afterimage-server" --cache "$out/cache" --listen 127.0.0.1:0 --port-file "$out/port" > "$out/logs/server.log" 2>&1 &
server_pid=$!
for _ in $(seq 100); do [[ -s $out/port ]] && break; sleep 0.1; done
[[ -s $out/port ]] || { echo "demo: the server did not start:" >&2; cat "$out/logs/server.log" >&2; exit 1; }
address="grpc://127.0.0.1:$(cat "$out/port")"
recipe=(--recipe maskalign-tiny-28px --epochs "$epochs")
run "$bin/afterimage-train" pretrain --cache "$address" --out "$out/student" "${recipe[@]}"
stop_server

step "5. 100 steps both ways: from the cache, and with the teacher inside the step"
echo "(on one core, so that teacher and student share one arithmetic unit, as they would share a GPU)"
one_core=(taskset -c 0 "$bin/afterimage-train" pretrain --threads 1 --steps 100 "${recipe[@]}")
run "${one_core[@]}" --cache "$out/cache" --out "$out/cached"
run "${one_core[@]}" --teacher "$teacher" --images "$images" --images-limit "$limit" --like "$out/cache" --out "$out/online"
"$bin/afterimage" info --json --cache "$out/cache" > "$out/logs/info.json"
run python3 deploy/demo/compare_runs.py "$out/cached" "$out/online" --steps 100 --info "$out/logs/info.json"

step "6. what was learnt: k-NN accuracy on held-out images"
run "$bin/afterimage-train" export --checkpoint "$out/student" --out "$out/student.safetensors"
knn_table=""
if [[ -n $test_images ]]; then
  knn() {
    local name="$1"; shift
    local accuracy
    accuracy="$("$bin/afterimage-train" knn --k 20 --images "$images" --limit "$limit" --test-images "$test_images" "$@" 2>> "$out/logs/knn.log" | tail -n 1)"
    printf '  %-20s %s\n' "$name" "$accuracy"
  }
  knn_table="$(knn student --weights "$out/student.safetensors"
               knn "untrained student" --weights "$out/student.safetensors" --untrained
               knn teacher --weights "$teacher"
               knn "raw pixels" --weights "$teacher" --raw-pixels)"
  printf '%s\n' "$knn_table"
else
  echo "left out: give labelled held-out images with --test-images"
fi

key="$("$bin/afterimage" keys --cache "$out/cache" --limit 1 | cut -d" " -f1)"
step "summary"
cat <<EOF
time      $((SECONDS - started)) s after the build
cache     $out/cache   $(du -sh "$out/cache" | cut -f1)
picture   $out/views.png
student   $out/student.safetensors (timm's names), checkpoints and metrics in $out/student
logs      $out/logs, $out/student/metrics.jsonl

next, with PATH=$bin:\$PATH
  afterimage get --cache $out/cache --key $key --out record.safetensors
  afterimage-precompute --images $images --limit $limit --teacher $teacher --cache $out/cache \\
    --view-seeds 4 --tokens all --codec f32        (two more view seeds; what is there is kept)
  afterimage-train pretrain --cache $out/cache --out $out/second --recipe maskalign-tiny-28px --loss-weights top3
EOF
