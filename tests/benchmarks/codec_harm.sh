#!/usr/bin/env bash
# Does a coarser codec harm the student? Trains the demo's student on the same features in several codecs, from the same
# seeds, and prints final loss, loss against the exact features, and k-NN accuracy with their spread over the seeds.
#
#   tests/benchmarks/codec_harm.sh [--images PATH] [--test-images PATH] [--limit N] [--epochs N] [--seeds "0 1 2"]
#                                  [--codecs "f32 i8x i4x ezq4 ezq2 coarse shuffled"] [--out FOLDER]
#
# Features are computed once, in f32, and recoded. The final loss is against the targets of a student's own codec, so losses
# of different codecs differ by the codec's own error too; the loss of a whole epoch against the exact features does not.
# Controls that must show harm: features in steps of two deviations (`coarse`), and features of other pictures (`shuffled`);
# then a student that was never trained. Default pictures are those of deploy/demo.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

images=/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz
test_images=/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz
limit=8000 epochs=20 seeds="0 1 2" codecs="f32 i8x i4x ezq4 ezq2 coarse shuffled" out=build/codec_harm
while (( $# > 0 )); do
  case "$1" in
    --images) images="$2" ;;
    --test-images) test_images="$2" ;;
    --limit) limit="$2" ;;
    --epochs) epochs="$2" ;;
    --seeds) seeds="$2" ;;
    --codecs) codecs="$2" ;;
    --out) out="$2" ;;
    -h|--help) sed -n '2,13s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "codec_harm: unknown argument '$1'" >&2; exit 2 ;;
  esac
  shift 2
done
readonly bin="$PWD/build/release/bin"
[[ -x $bin/afterimage-train ]] || { echo "codec_harm: $bin has no programs; run deploy/build.sh release first" >&2; exit 1; }
[[ -x $bin/damage_features ]] || cmake --build build/release --target damage_features >&2
mkdir -p "$out"
rm -rf "${out:?}"/cache* "$out"/run-*

"$bin/afterimage-precompute" --images "$images" --limit "$limit" --teacher deploy/demo/teacher.safetensors --cache "$out/cache" \
  --view-seeds 2 --tokens all --codec f32 --name f32 --quiet > "$out/precompute.log"
"$bin/afterimage" calibrate --cache "$out/cache" --from f32 --name calibrated > "$out/calibrate.log" 2>&1
for codec in $codecs; do
  [[ $codec == f32 ]] && continue
  if [[ $codec == coarse || $codec == shuffled ]]; then
    echo "$codec: $("$bin/damage_features" "$out/cache" f32 "$out/cache-$codec" "$codec")"
    continue
  fi
  profile=(--profile calibrated)
  [[ $codec == f16 || $codec == bf16 || $codec == lossless16* ]] && profile=()
  "$bin/afterimage" recode --cache "$out/cache" --from f32 --codec "$codec" "${profile[@]}" --name "$codec" --json > "$out/recode-$codec.json" 2> "$out/recode-$codec.log"
done

knn() {
  "$bin/afterimage-train" knn --k 20 --images "$images" --limit "$limit" --test-images "$test_images" --json "$@" 2>> "$out/knn.log"
}
for seed in $seeds; do
  for codec in $codecs; do
    run="$out/run-$codec-$seed"
    echo "training on $codec, seed $seed" >&2
    features=(--cache "$out/cache" --set "$codec")
    [[ -d $out/cache-$codec ]] && features=(--cache "$out/cache-$codec")
    "$bin/afterimage-train" pretrain "${features[@]}" --out "$run" --recipe maskalign-tiny-28px --epochs "$epochs" \
      --seed "$seed" > "$run.log" 2>&1
    "$bin/afterimage-train" export --checkpoint "$run" --out "$run/student.safetensors" >> "$run.log" 2>&1
    "$bin/afterimage-train" validate --checkpoint "$run" --cache "$out/cache" --set f32 --json > "$run/exact.json" 2>> "$run.log"
    knn --weights "$run/student.safetensors" > "$run/knn.json"
  done
done
first="$out/run-${codecs%% *}-${seeds%% *}/student.safetensors"
knn --weights "$first" --untrained > "$out/untrained.json"

python3 - "$out" "$codecs" "$seeds" <<'PYTHON'
import json, statistics, sys
out, codecs, seeds = sys.argv[1], sys.argv[2].split(), sys.argv[3].split()


def accuracy(path):
    return 100 * json.load(open(path))["knn"][0]["top1"]


def spread(values):
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values) if len(values) > 1 else 0:.4f}"


print(f"{'codec':<16} {'final loss':<22} {'against exact features':<24} {'k-NN accuracy, %':<22} (mean ± standard deviation over {len(seeds)} seeds)")
for codec in codecs:
    losses = [json.load(open(f"{out}/run-{codec}-{seed}/summary.json"))["last_loss"] for seed in seeds]
    exact = [json.load(open(f"{out}/run-{codec}-{seed}/exact.json"))["loss"] for seed in seeds]
    accuracies = [accuracy(f"{out}/run-{codec}-{seed}/knn.json") for seed in seeds]
    print(f"{codec:<16} {spread(losses):<22} {spread(exact):<24} {spread(accuracies):<22}")
print(f"{'never trained':<16} {'':<22} {'':<24} {accuracy(out + '/untrained.json'):.4f}")
PYTHON
