#!/usr/bin/env bash
# Makes a Debian 12 machine ready to build Afterimage. Safe to run again: does only what is missing.
#
#   1. Debian packages (compiler, CMake, gRPC, protobuf, RocksDB, …): about 250 MB of downloads, 1.2 GB installed.
#   2. LibTorch for the CPU, from three wheels of PyPI pinned by SHA-256: 545 MB of downloads, 0.6 GB unpacked.
#      Wheels and unpacked files live in ~/.cache/afterimage and serve every clone: the second one fetches nothing.
#   3. The link .deps/libtorch in this checkout.
#   With --cuda also: LibTorch with its CUDA part and NVIDIA's libraries and headers (NCCL too), from further wheels: 2.5 GB of
#   downloads, 5 GB unpacked; the link .deps/libtorch-cuda, for the CMake preset "cuda". And the compiler nvcc: 0.1 GB, 0.2 GB unpacked,
#   the link .deps/nvcc. No CUDA toolkit is needed.
#
# Takes half a minute near a mirror and minutes on a slow line, a second when all is there. Reads the usual environment only: http_proxy,
# https_proxy, PIP_CERT, PIP_INDEX_URL, AFTERIMAGE_CACHE_HOME (default ~/.cache/afterimage).
set -euo pipefail

repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
readonly repository
readonly cache_home="${AFTERIMAGE_CACHE_HOME:-${HOME:-/root}/.cache/afterimage}"
readonly wheels="$cache_home/wheels"
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1
exec </dev/null

readonly packages=(
  # tools
  g++ cmake ninja-build ccache lld git pkg-config python3 python3-pip unzip ca-certificates
  # libraries
  libgrpc++-dev libgrpc-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc libabsl-dev librocksdb-dev
  libzstd-dev libturbojpeg0-dev libjpeg62-turbo-dev libspng-dev libwebp-dev zlib1g-dev libssl-dev libxxhash-dev
  libcli11-dev nlohmann-json3-dev libeigen3-dev libgloo-dev libisal-dev libmicrohttpd-dev
  # tests and demo
  libgtest-dev libgmock-dev dataset-fashion-mnist
)

# name version file sha256
readonly torch_version=2.11.0
readonly torch_sha256=7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a
readonly pinned_wheels=(
  "torch $torch_version torch-2.11.0-cp311-cp311-manylinux_2_28_x86_64.whl $torch_sha256"
  "nvidia-cuda-runtime 13.0.96 nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl 7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548"
  "nvidia-cuda-cupti 13.0.85 nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl 4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8"
)
readonly libtorch="$cache_home/libtorch-$torch_version-${torch_sha256:0:12}"
# What the wheel torch asks for beside the two above, and the headers that the runtime's include.
readonly cuda_wheels=(
  "nvidia-cublas 13.1.0.3 nvidia_cublas-13.1.0.3-py3-none-manylinux_2_27_x86_64.whl ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171"
  "nvidia-cuda-crt 13.0.88 nvidia_cuda_crt-13.0.88-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl 2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4"
  "nvidia-cuda-nvrtc 13.0.88 nvidia_cuda_nvrtc-13.0.88-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575"
  "nvidia-cudnn-cu13 9.19.0.56 nvidia_cudnn_cu13-9.19.0.56-py3-none-manylinux_2_27_x86_64.whl d20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf"
  "nvidia-cufft 12.0.0.61 nvidia_cufft-12.0.0.61-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl 6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3"
  "nvidia-cufile 1.15.1.6 nvidia_cufile-1.15.1.6-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl 08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44"
  "nvidia-curand 10.4.0.35 nvidia_curand-10.4.0.35-py3-none-manylinux_2_27_x86_64.whl 1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc"
  "nvidia-cusolver 12.0.4.66 nvidia_cusolver-12.0.4.66-py3-none-manylinux_2_27_x86_64.whl 0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112"
  "nvidia-cusparse 12.6.3.3 nvidia_cusparse-12.6.3.3-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl 2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b"
  "nvidia-cusparselt-cu13 0.8.0 nvidia_cusparselt_cu13-0.8.0-py3-none-manylinux2014_x86_64.whl 25e30a8a7323935d4ad0340b95a0b69926eee755767e8e0b1cf8dd85b197d3fd"
  "nvidia-nccl-cu13 2.28.9 nvidia_nccl_cu13-2.28.9-py3-none-manylinux_2_18_x86_64.whl e4553a30f34195f3fa1da02a6da3d6337d28f2003943aa0a3d247bbc25fefc42"
  "nvidia-nvjitlink 13.0.88 nvidia_nvjitlink-13.0.88-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl 13a74f429e23b921c1109976abefacc69835f2f433ebd323d3946e11d804e47b"
  "nvidia-nvshmem-cu13 3.4.5 nvidia_nvshmem_cu13-3.4.5-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl 290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80"
  "nvidia-nvtx 13.0.85 nvidia_nvtx-13.0.85-py3-none-manylinux1_x86_64.manylinux_2_5_x86_64.whl 4936d1d6780fbe68db454f5e72a42ff64d1fd6397df9f363ae786930fd5c1cd4"
)
readonly libtorch_cuda="$cache_home/libtorch-cuda-$torch_version-${torch_sha256:0:12}"
# The compiler of the version that torch was built with; its headers are among those of cuda_wheels.
readonly nvcc_version=13.0.88
readonly nvcc_sha256=56fe502eb77625a12f25172caa3cdddb4e4c8ba2c8c17dba44b164761b380f03
readonly nvcc_wheels=(
  "nvidia-cuda-nvcc $nvcc_version nvidia_cuda_nvcc-13.0.88-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl $nvcc_sha256"
  "nvidia-nvvm 13.0.88 nvidia_nvvm-13.0.88-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl c5f41ffeb6466944a026dfa5317d7d85355c119bbec279205d22f1869d1054e0"
)
readonly nvcc="$cache_home/nvcc-$nvcc_version-${nvcc_sha256:0:12}"

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }

# require_free_mb FOLDER MEGABYTES WHAT_FOR
require_free_mb() {
  local folder="$1"
  while [[ ! -d "$folder" ]]; do folder="$(dirname "$folder")"; done
  local free_mb
  free_mb="$(df -Pm "$folder" | awk 'NR == 2 { print $4 }')"
  (( free_mb >= $2 )) || die "$3 needs $2 MB free at $folder, and there are $free_mb MB."
}

install_packages() {
  local missing=() package
  for package in "${packages[@]}"; do
    [[ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)" == installed ]] \
      || missing+=("$package")
  done
  if (( ${#missing[@]} == 0 )); then
    say "Debian packages: all ${#packages[@]} installed"
    return
  fi
  say "Debian packages: installing ${missing[*]}"
  (( EUID == 0 )) || die "installing packages needs root. Run this once as root, or: apt-get install ${missing[*]}"
  require_free_mb /usr 2000 "installing the packages"
  apt-get update -q || die "apt-get update failed: are the machine's package sources reachable?"
  apt-get install -y -q --no-install-recommends "${missing[@]}" \
    || die "apt-get could not install all of: ${missing[*]} (this script is written for Debian 12, bookworm)"
}

# Does $1 have the SHA-256 $2?
has_sha256() { [[ -f "$1" ]] && echo "$2  $1" | sha256sum --check --status; }

fetch_wheel() {
  local name="$1" version="$2" file="$3" sha256="$4"
  if has_sha256 "$wheels/$file" "$sha256"; then
    say "wheel $name $version: found in $wheels"
    return
  fi
  say "wheel $name $version: fetching from PyPI"
  mkdir -p "$wheels"
  local aside
  aside="$(mktemp -d "$wheels/.fetch.XXXXXX")"
  printf '%s==%s --hash=sha256:%s\n' "$name" "$version" "$sha256" >"$aside/requirements.txt"
  if ! python3 -m pip download --quiet --no-cache-dir --no-deps --only-binary=:all: --require-hashes --progress-bar off \
      --python-version 3.11 --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
      --platform manylinux_2_25_x86_64 --platform manylinux_2_18_x86_64 --platform manylinux_2_17_x86_64 \
      --platform manylinux2014_x86_64 --platform manylinux2010_x86_64 --platform manylinux1_x86_64 \
      --dest "$aside" -r "$aside/requirements.txt"; then
    rm -rf "$aside"
    die "could not fetch the wheel $name==$version. Where PyPI cannot be reached, put $file into $wheels by hand."
  fi
  mv -f "$aside/$file" "$wheels/$file" || die "pip fetched another file than $file for $name==$version"
  rm -rf "$aside"
  has_sha256 "$wheels/$file" "$sha256" || die "the wheel $file does not have the pinned SHA-256 $sha256"
}

unpack_libtorch() {
  if [[ -e "$libtorch/.complete" ]]; then
    say "LibTorch $torch_version: unpacked at $libtorch"
    return
  fi
  require_free_mb "$cache_home" 2000 "fetching and unpacking LibTorch"
  local entry
  for entry in "${pinned_wheels[@]}"; do
    # shellcheck disable=SC2086  # four words by construction
    fetch_wheel $entry
  done
  say "LibTorch $torch_version: unpacking into $libtorch"
  local aside
  aside="$(mktemp -d "$libtorch.unpack.XXXXXX")"
  chmod 755 "$aside"
  # include/google is protobuf 3.13, which would shadow the system's. -DD: files are as old as they are here, since a
  # clock behind the wheel's would make every build start afresh.
  for entry in "${pinned_wheels[@]}"; do
    # shellcheck disable=SC2086
    set -- $entry
    case "$1" in
      torch) unzip -q -DD "$wheels/$3" 'torch/include/*' torch/lib/libtorch_cpu.so torch/lib/libc10.so \
        'torch/lib/libgomp*' 'torch-*.dist-info/licenses/*' -x 'torch/include/google/*' -d "$aside" ;;
      nvidia-cuda-runtime) unzip -q -DD -j "$wheels/$3" 'nvidia/*/lib/libcudart.so.13' -d "$aside/torch/lib" ;;
      nvidia-cuda-cupti) unzip -q -DD -j "$wheels/$3" 'nvidia/*/lib/libcupti.so.13' -d "$aside/torch/lib" ;;
    esac || die "could not unpack the wheel $3"
  done
  mv "$aside/torch/include" "$aside/torch/lib" "$aside/"
  mv "$aside"/torch-*.dist-info/licenses "$aside/licenses"
  rm -rf "$aside/torch" "$aside"/torch-*.dist-info
  local unresolved
  unresolved="$(ldd "$aside/lib/libtorch_cpu.so" | grep 'not found' || true)"
  [[ -z "$unresolved" ]] || die "LibTorch lacks libraries on this machine: $unresolved"
  touch "$aside/.complete"
  rm -rf "$libtorch"
  if ! mv -T "$aside" "$libtorch" 2>/dev/null; then
    rm -rf "$aside"
    [[ -e "$libtorch/.complete" ]] || die "could not move the unpacked LibTorch to $libtorch"
  fi
}

# All of the wheels in one folder: their libraries look for each other beside themselves.
unpack_libtorch_cuda() {
  if [[ -e "$libtorch_cuda/.complete" ]]; then
    say "LibTorch $torch_version with CUDA: unpacked at $libtorch_cuda"
    return
  fi
  require_free_mb "$cache_home" 9000 "fetching and unpacking LibTorch with CUDA"
  local entry
  for entry in "${pinned_wheels[@]}" "${cuda_wheels[@]}"; do
    # shellcheck disable=SC2086  # four words by construction
    fetch_wheel $entry
  done
  say "LibTorch $torch_version with CUDA: unpacking into $libtorch_cuda"
  local aside
  aside="$(mktemp -d "$libtorch_cuda.unpack.XXXXXX")"
  chmod 755 "$aside"
  mkdir -p "$aside/lib" "$aside/cuda-include"
  for entry in "${pinned_wheels[@]}" "${cuda_wheels[@]}"; do
    # shellcheck disable=SC2086
    set -- $entry
    if [[ "$1" == torch ]]; then
      unzip -q -DD "$wheels/$3" 'torch/include/*' 'torch/lib/*.so*' 'torch-*.dist-info/licenses/*' \
        -x 'torch/include/google/*' 'torch/lib/libtorch_python.so' 'torch/lib/libshm*' -d "$aside" \
        || die "could not unpack the wheel $3"
      mv "$aside/torch/include" "$aside/include"
      mv "$aside"/torch/lib/* "$aside/lib/"
      mv "$aside"/torch-*.dist-info/licenses "$aside/licenses"
      rm -rf "$aside/torch" "$aside"/torch-*.dist-info
      continue
    fi
    unzip -q -DD "$wheels/$3" 'nvidia/*' -d "$aside/wheel" || die "could not unpack the wheel $3"
    local folder
    for folder in "$aside"/wheel/nvidia/*/lib "$aside"/wheel/nvidia/*/lib64; do
      [[ -d "$folder" ]] && find "$folder" -maxdepth 1 -name '*.so*' -exec mv -f -t "$aside/lib" {} +
    done
    for folder in "$aside"/wheel/nvidia/*/include; do
      [[ -d "$folder" ]] && cp -rf "$folder/." "$aside/cuda-include/"
    done
    rm -rf "$aside/wheel"
  done
  local unresolved
  unresolved="$(LD_LIBRARY_PATH="$aside/lib" ldd "$aside/lib/libtorch_cuda.so" | grep 'not found' || true)"
  [[ -z "$unresolved" ]] || die "LibTorch with CUDA lacks libraries on this machine: $unresolved"
  touch "$aside/.complete"
  rm -rf "$libtorch_cuda"
  if ! mv -T "$aside" "$libtorch_cuda" 2>/dev/null; then
    rm -rf "$aside"
    [[ -e "$libtorch_cuda/.complete" ]] || die "could not move the unpacked LibTorch to $libtorch_cuda"
  fi
}

unpack_nvcc() {
  if [[ -e "$nvcc/.complete" ]]; then
    say "nvcc $nvcc_version: unpacked at $nvcc"
    return
  fi
  require_free_mb "$cache_home" 500 "fetching and unpacking nvcc"
  local entry
  for entry in "${nvcc_wheels[@]}"; do
    # shellcheck disable=SC2086  # four words by construction
    fetch_wheel $entry
  done
  say "nvcc $nvcc_version: unpacking into $nvcc"
  local aside
  aside="$(mktemp -d "$nvcc.unpack.XXXXXX")"
  chmod 755 "$aside"
  for entry in "${nvcc_wheels[@]}"; do
    # shellcheck disable=SC2086
    set -- $entry
    unzip -q -DD "$wheels/$3" 'nvidia/*' '*.dist-info/licenses/*' -d "$aside/wheel" \
      || die "could not unpack the wheel $3"
  done
  mv "$aside"/wheel/nvidia/cu13/* "$aside/"
  mv "$aside"/wheel/nvidia_cuda_nvcc-*.dist-info/licenses "$aside/licenses"
  rm -rf "${aside:?}/wheel" "${aside:?}/lib"  # libnvvm, which nvcc does without
  chmod -R a+rX "$aside"
  "$aside/bin/nvcc" --version | grep -q "V$nvcc_version" || die "nvcc of the wheel does not run here"
  touch "$aside/.complete"
  rm -rf "$nvcc"
  if ! mv -T "$aside" "$nvcc" 2>/dev/null; then
    rm -rf "$aside"
    [[ -e "$nvcc/.complete" ]] || die "could not move the unpacked nvcc to $nvcc"
  fi
}

with_cuda=false
for argument in "$@"; do
  case "$argument" in
    --cuda) with_cuda=true ;;
    *) die "unknown argument $argument; known: --cuda" ;;
  esac
done

[[ "$(uname -m)" == x86_64 ]] || die "the pinned LibTorch is for x86_64; this machine is $(uname -m)."
[[ -n "$(command -v dpkg-query)" && -n "$(command -v apt-get)" ]] \
  || die "this script installs Debian 12 packages, and apt-get is not here."

say "Debian packages and LibTorch $torch_version; a fresh machine needs 4 GB of disk, and 0.5 to 8 minutes for 800 MB of downloads"
install_packages
unpack_libtorch
mkdir -p "$repository/.deps"
ln -sfn "$libtorch" "$repository/.deps/libtorch"
if "$with_cuda"; then
  unpack_libtorch_cuda
  ln -sfn "$libtorch_cuda" "$repository/.deps/libtorch-cuda"
  unpack_nvcc
  ln -sfn "$nvcc" "$repository/.deps/nvcc"
fi
say "done: ready to build in $SECONDS s"
