#!/usr/bin/env bash
# Checks ivl on a GPU in one run of less than eight minutes: parity with the CPU; decoding, prefill and a training step against the
# limits of the device and against PyTorch (if it is installed); memory over many training steps.
#
#   scripts/gpu-check.sh [--device cuda] [--small] [IVL]
#
# IVL is the command, built with `--features cuda` or `wgpu` (docs/cuda.md); default target/release/ivl. Needs no network.
# Prints one table and writes it to $OUT/table.md (default runs/gpu-check), with all figures in results.jsonl and the output of the
# commands in log.txt.
# --small uses a tiny shape and few steps, and judges only parity: with --device cpu it tests the script in a minute.
# The exit status is 1 if a goal is missed or a measurement failed.
set -uo pipefail
cd "$(dirname "$0")/.."

device=cuda small=false ivl=target/release/ivl
while [ $# -gt 0 ]; do
    case "$1" in
        --device) device=$2; shift ;;
        --small) small=true ;;
        -*) echo "usage: scripts/gpu-check.sh [--device DEVICE] [--small] [IVL]" >&2; exit 2 ;;
        *) ivl=$1 ;;
    esac
    shift
done
[ -x "$ivl" ] || { echo "no command \`$ivl\`: build it (docs/cuda.md), or give its path" >&2; exit 2; }

out=${OUT:-runs/gpu-check} python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
# The 16-bit type: wgpu has no bf16.
half=bf16
[ "$device" != wgpu ] || half=f16
results=$out/results.jsonl log=$out/log.txt
: > "$results"
: > "$log"

models=(1b 7b) value=1b steps=500
speed=(--context 128 --tokens 32 --prompt 2048 --rounds 3) context=(--context 512 --rounds 3)
if $small; then
    models=(24m) value=24m steps=40
    speed=(--context 8 --tokens 4 --prompt 16 --rounds 1) context=(--context 16 --rounds 1)
fi

# --- stages: each has its own time limit, plus the time that earlier ones left ----------------------------------------------------------

planned=0
# stage SECONDS NAME COMMAND..: runs a command; its JSON lines go to $work/NAME, and `reason NAME` explains why there are none.
stage() {
    local name=$2 left status
    planned=$((planned + $1))
    left=$((planned - SECONDS))
    shift 2
    echo "$name, at most $left s" >&2
    echo "--- $name: $*" >> "$log"
    timeout --kill-after=5 "$left" "$@" > "$work/$name" 2> "$work/$name.err"
    status=$?
    cat "$work/$name" >> "$results"
    cat "$work/$name.err" >> "$log"
    case $status in
        0) ;;
        124 | 137) echo "not over after $left s" > "$work/$name.why" ;;
        *) tail -n 1 "$work/$name.err" | sed 's/^error: //' | tr '|' '/' | tr -d '\n' > "$work/$name.why" ;;
    esac
    return $status
}

reason() { cat "$work/$1.why" 2> /dev/null || echo "nothing was printed"; }

# number KEY: the first number under that key in a line of JSON.
number() { grep -o "\"$1\": *-\{0,1\}[0-9][0-9.eE+-]*" | head -n 1 | sed 's/.*: *//'; }

# line NAME MEASURE: the line of a measurement.
line() { grep "\"measure\": *\"$2\"" "$work/$1" 2> /dev/null | head -n 1; }

is() { awk "BEGIN { exit !($1) }"; }
ratio() { awk "BEGIN { printf \"%.2f\", $1 / $2 }"; }
rounded() { awk "BEGIN { printf \"%.${2:-0}f\", $1 }"; }

# --- the table -------------------------------------------------------------------------------------------------------------------

table=$work/table.md
failed=0
row() { printf '| %s | %s | %s | %s | %s | %s |\n' "$@" >> "$table"; }
unmeasured() { failed=1; row "$1" "" "" "" "${3:-}" "not measured: $2"; }

# judged CONDITION: met or missed, in $verdict.
judged() {
    verdict=met
    is "$1" || { verdict=missed; failed=1; }
}

# compared WHAT OURS THEIRS-AS-TEXT RATIO GOAL: a ratio of speeds that must reach the goal; no goal if it is empty.
compared() {
    local verdict=""
    if [ -n "$5" ] && ! $small; then judged "$4 >= $5"; fi
    row "$1" "$2" "$3" "$4" "${5:+at least $5}" "$verdict"
}

# parity TYPE: every model of the repository, on the device and on the CPU.
parity() {
    local name=parity-$1 what="parity, $1" passed all worst verdict
    stage 65 "$name" "$ivl" parity --device "$device" --dtype "$1" --json "${checkpoints[@]}"
    all=${#checkpoints[@]}
    passed=$(grep -c '"passed":true' "$work/$name")
    if [ "$(wc -l < "$work/$name")" -lt "$all" ]; then
        unmeasured "$what" "after $passed of $all models: $(reason "$name")" "all models"
        return
    fi
    worst=$(sed 's/.*"difference":\([^,]*\),"limit":\([^,]*\),.*"tokens":\([0-9]*\),"equal_tokens":\([0-9]*\),.*/\1 \2 \3 \4/' "$work/$name" |
        awk '{ r = $1 / $2; if (r > worst) worst = r; all += $3; same += $4 } END { printf "%.2f %d/%d", worst, same, all }')
    judged "$passed == $all"
    row "$what" "$passed of $all models, ${worst#* } greedy tokens equal" "CPU" "${worst% *} of the limit" "all models" "$verdict"
}

# beside_ceiling NAME MEASURE WHAT GOAL, beside_pytorch NAME RIVAL MEASURE WHAT GOAL: one row of the table each.
beside_ceiling() {
    local found
    found=$(line "$1" "$2")
    if [ -z "$found" ]; then
        unmeasured "$3" "$(reason "$1")" "${4:+at least $4}"
        return
    fi
    compared "$3" "$(rounded "$(number tokens_per_second <<< "$found")" 1) tokens/s" \
        "$(rounded "$(grep -o '"ceiling":{[^}]*}' <<< "$found" | number tokens_per_second)" 1), the ceiling of $(
            sed 's/.*"of":"\([a-z]*\)".*/\1/' <<< "$found")" "$(rounded "$(number share_of_ceiling <<< "$found")" 2)" "$4"
}
beside_pytorch() {
    local ours theirs
    ours=$(line "$1" "$3" | number tokens_per_second)
    theirs=$(line "$2" "$3" | number tokens_per_second)
    if [ -z "$pytorch" ]; then
        row "$4" "${ours:+$(rounded "$ours" 1) tokens/s}" "PyTorch" "" "at least $5" "no rival: $no_rival"
    elif [ -z "$ours" ] || [ -z "$theirs" ]; then
        unmeasured "$4, beside PyTorch" "$(reason "$([ -z "$ours" ] && echo "$1" || echo "$2")")" "at least $5"
    else
        compared "$4" "$(rounded "$ours" 1) tokens/s" "$(rounded "$theirs" 1), PyTorch" "$(ratio "$ours" "$theirs")" "$5"
    fi
}

# --- the run ---------------------------------------------------------------------------------------------------------------------

# Every tiny model that parity with transformers is tested on, and the demo models.
checkpoints=()
for golden in crates/ivl-models/tests/fixtures/*/golden.safetensors; do checkpoints+=("${golden%/*}"); done
for config in crates/ivl-demo-models/models/*/config.json; do checkpoints+=("${config%/*}"); done

no_rival="\`$python\` imports no torch and transformers"
pytorch=$("$python" -c 'import torch, transformers; print("PyTorch", torch.__version__, "transformers", transformers.__version__)' 2> /dev/null)
[ "$device" != wgpu ] || pytorch="" no_rival="PyTorch has no wgpu"
card=$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2> /dev/null | head -n 1)

printf '| what | ivl | beside | ratio | goal | verdict |\n|---|---|---|---|---|---|\n' > "$table"
parity f32
parity $half
for model in "${models[@]}"; do
    shapes="$model + $value, $half, batch 1"
    stage 60 "speed-$model" "$ivl" bench "$model" --value "$value" --device "$device" --dtype "$half" --json \
        --measure decode,prefill --rows 1 "${speed[@]}"
    [ -z "$pytorch" ] || stage 25 "pytorch-$model" "$python" benches/rivals/decode.py "$model" "$value" --device "$device" \
        --dtype bfloat16 --measure decode,prefill --rows 1 "${speed[@]}"
    beside_ceiling "speed-$model" decode "decode, $shapes" 0.70
    beside_pytorch "speed-$model" "pytorch-$model" decode "decode, $shapes" 1.00
    beside_ceiling "speed-$model" prefill "prefill, $shapes" ""
    beside_pytorch "speed-$model" "pytorch-$model" prefill "prefill, $shapes" 1.00
done
stage 50 train "$ivl" bench "${models[0]}" --value "$value" --device "$device" --dtype "$half" --json --measure train "${context[@]}"
[ -z "$pytorch" ] || stage 25 pytorch-train "$python" benches/rivals/train_step.py "${models[0]}" "$value" --device "$device" \
    --dtype bfloat16 "${context[@]}"
# There are no passes in f16: its range is too small for gradients.
what="training step, ${models[0]} + $value, $half, 8 rows"
[ $half = bf16 ] || what="training step in f32, base in $half, ${models[0]} + $value, 8 rows"
beside_ceiling train "training step" "$what" ""
beside_pytorch train pytorch-train "training step" "$what" 1.00

# A whole run of `ivl train`: its memory, and its losses against those of the CPU.
run() {
    "$ivl" train examples/first-value/train.toml --dtype f32 --device "$1" --quiet --json --set "output='$work/run-$1'" \
        --set "steps.max_steps=$steps" --set steps.epochs=1000
}
watch_card() {
    while sleep 1; do nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits 2> /dev/null | head -n 1 >> "$work/card"; done
}
metric() { grep '"kind":"step"' "$work/run-$1/metrics.jsonl" 2> /dev/null | sed -n "$2p" | number "$3"; }
export -f run
export ivl work steps
watch_card &
watcher=$!
stage 50 run bash -c "run $device"
kill "$watcher"
early=$((steps / 5))
for kind in device_mib resident_mib; do
    what="memory over $steps training steps, ${kind%_mib}"
    first=$(metric "$device" "$early" $kind) last=$(metric "$device" "$steps" $kind)
    if [ -n "$first" ] && [ -n "$last" ]; then
        growth=$(ratio "$last" "$first")
        verdict=""
        # After so few steps the heap still grows.
        $small || judged "$last <= 1.02 * $first"
        row "$what" "$(rounded "$last") MiB" "$(rounded "$first") MiB after step $early" "$growth" "at most 1.02" "$verdict"
    elif [ "$kind" = resident_mib ] || [ "$device" != cpu ]; then
        unmeasured "$what" "$(reason run)" "at most 1.02"
    fi
done
if [ -s "$work/card" ]; then
    row "the same, as nvidia-smi saw it" "$(tail -n 1 "$work/card") MiB at the end" "$(sed -n '3p' "$work/card") MiB in the third second" "" "" ""
fi
step=20 what="loss of a training step, f32"
if [ "$device" != cpu ]; then
    stage 25 run-cpu bash -c "run cpu"
    ours=$(metric "$device" $step loss) theirs=$(metric cpu $step loss)
    if [ -n "$ours" ] && [ -n "$theirs" ]; then
        judged "($ours - $theirs) ^ 2 <= (0.01 * $theirs) ^ 2"
        row "$what" "$(rounded "$ours" 4)" "$(rounded "$theirs" 4), CPU, after step $step" "$(ratio "$ours" "$theirs")" "within 1%" "$verdict"
    else
        unmeasured "$what" "$(reason "$([ -z "$ours" ] && echo run || echo run-cpu)")" "within 1%"
    fi
fi

{
    echo "$(date -u +%Y-%m-%d), ${card:-device $device}, ${pytorch:-no PyTorch}; $("$ivl" --version), $SECONDS seconds"
    echo
    cat "$table"
} | tee "$out/table.md"
exit $failed
