#!/usr/bin/env bash
# The tests of ivl-kernels, which has most of the project's `unsafe`, under LLVM's sanitizers: address (with Rust's debug
# assertions) and thread, at every level of vector instructions of this processor.
#
#   scripts/sanitize.sh [address] [thread]
#
# Stable Rust ships the sanitizers' libraries, and accepts their flags if RUSTC_BOOTSTRAP is set. Builds only this crate, into
# target/sanitize. If Rust has no such library for the processor, the script says so and exits with status 0.
set -euo pipefail
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
libraries=$(rustc --print target-libdir)
levels=("")
[[ $host == x86_64-* ]] && levels=("" avx512 avxvnni avx2 base)
# Rust's own library is compiled without the sanitizer, which therefore does not see the synchronisation of thread exit, `OnceLock`
# and the test harness. One test runs at a time for the same reason.
mkdir -p target/sanitize
cat > target/sanitize/suppressions <<'END'
race:alloc::sync::Arc<std::thread
race:std::thread::lifecycle::Packet
race:test::run_test
race:test::event::CompletedTest
END

[ $# -gt 0 ] || set -- address thread
for sanitizer; do
    case "$sanitizer" in
        address) library=asan flags="-Cdebug-assertions -Coverflow-checks" ;;
        thread) library=tsan flags="-Cunsafe-allow-abi-mismatch=sanitizer" ;;
        *) echo "usage: scripts/sanitize.sh [address] [thread]" >&2; exit 2 ;;
    esac
    if ! compgen -G "$libraries/librustc*_rt.$library.*" > /dev/null; then
        echo "no $sanitizer sanitizer: this Rust has no library of it for $host"
        continue
    fi
    for level in "${levels[@]}"; do
        echo "$sanitizer sanitizer, IVL_CPU=$level"
        IVL_CPU=$level RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=$sanitizer $flags" RUST_TEST_THREADS=1 \
            TSAN_OPTIONS="history_size=7 suppressions=$PWD/target/sanitize/suppressions" \
            cargo test --quiet --release --manifest-path crates/ivl-kernels/Cargo.toml --lib --tests \
            --target "$host" --target-dir "target/sanitize/$sanitizer"
    done
done
