# SPDX-License-Identifier: Apache-2.0
# Shared by the scripts of this folder (bash): messages, progress bars, the build.

say() { printf '%s\n' "$*"; }
die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# Reads percentages, one a line, and draws a bar: on a terminal in place, elsewhere one line for each tenth.
progress() { # label
    local label=$1 percent shown=-1 bar
    while read -r percent; do
        [ "$percent" -le 100 ] || percent=100
        if [ -t 1 ]; then
            [ "$percent" -ne "$shown" ] || continue
            printf -v bar '%*s' $((percent * 40 / 100)) ''
            printf '\r  %-16s [%-40s] %3d %%' "$label" "${bar// /#}" "$percent"
        else
            [ $((percent / 10)) -ne $((shown / 10)) ] || [ "$shown" -lt 0 ] || continue
            printf '  %-16s %3d %%\n' "$label" "$percent"
        fi
        shown=$percent
    done
    [ ! -t 1 ] || [ "$shown" -lt 0 ] || printf '\r  %-16s [%s] 100 %%\n' "$label" "$(printf '%40s' '' | tr ' ' '#')"
}

# Configures and builds with a bar; on failure prints the compiler's own words.
build() { # label, folder, ninja target, meson options...
    local label=$1 folder=$2 target=$3 log
    shift 3
    log=$folder.log
    mkdir -p "$(dirname "$folder")"
    if [ -f "$folder/build.ninja" ]; then
        meson configure "$folder" "$@" >"$log" 2>&1 || { tail -n 30 "$log" >&2; die "meson configure failed; see $log"; }
    else
        meson setup "$folder" "$root" "$@" >"$log" 2>&1 || { tail -n 30 "$log" >&2; die "meson setup failed; see $log"; }
    fi
    ninja -C "$folder" "$target" 2>&1 | tee -a "$log" |
        awk -F'[][/]' '/^\[[0-9]+\/[0-9]+\]/ { printf "%d\n", 100 * $2 / $3; fflush() }' | progress "$label" ||
        { grep -A12 -E 'error|FAILED' "$log" | head -n 60 >&2; die "the build failed; the whole output is in $log"; }
}

root=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
# Debian's own Python, whatever else is first in PATH: the test packages belong to it.
python=/usr/bin/python3
