#!/bin/sh
# What a GPU does with Sensorium's networks, in one command, on a machine with NVIDIA's driver and Python 3.11 or newer:
#
#     sh bench/gpu.sh                       # some 20 minutes; writes a section of docs/benchmarks.md
#     sh bench/gpu.sh --memory-seconds 60   # python -m bench.gpu --help lists what follows
#     sh bench/gpu.sh --device cpu …        # the same without a GPU, to see that it works
#
# Environments of hashed packages are made in bench/.venvs; weights come from SENSORIUM_MODELS_MIRROR if that is set, else from their
# public addresses. PYTHON names the interpreter for the environments; with BENCH_PYTHON, one that has everything, none is made.
set -eu
cd "$(dirname "$0")/.."
device=cuda
previous=
for word in "$@"; do
    case $word in --device=*) device=${word#--device=} ;; esac
    [ "$previous" = --device ] && device=$word
    previous=$word
done
case $device in cuda) kind=gpu ;; cpu) kind=cpu ;; *) echo "bench/gpu.sh: --device is cuda or cpu" >&2; exit 64 ;; esac

if [ "$device" = cuda ] && ! nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader; then
    echo "bench/gpu.sh: there is no GPU, or no driver of NVIDIA's (nvidia-smi)" >&2
    exit 69
fi

environment() { # the lock file's name -> the interpreter of an environment with exactly that
    lock=deploy/requirements-$1.lock
    folder=bench/.venvs/$1
    if ! cmp -s "$lock" "$folder/installed.lock"; then
        rm -rf "$folder"
        "$base" -m venv "$folder" >&2
        "$folder/bin/python" -m pip install --quiet --require-hashes -r "$lock" >&2
        cp "$lock" "$folder/installed.lock"
    fi
    echo "$folder/bin/python"
}

if [ -n "${BENCH_PYTHON:-}" ]; then
    python=$BENCH_PYTHON
else
    base=${PYTHON:-$(sh tools/find-python.sh)}
    puller=$(environment models)
    "$puller" -m sensorium models pull
    python=$(environment "worker-$kind")
fi
exec "$python" -m bench.gpu "$@"
