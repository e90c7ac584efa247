# SPDX-License-Identifier: Apache-2.0
# bash completion for wslctl, which says itself what may come next (client/wslctl/complete.c).

_wslctl() {
    local kind text cur=${COMP_WORDS[COMP_CWORD]} IFS=$'\n'
    local -a answer
    COMPREPLY=()
    mapfile -t answer < <("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    [ ${#answer[@]} -gt 0 ] || return 0
    kind=${answer[0]}
    for text in "${answer[@]:1}"; do
        COMPREPLY+=("${text%%$'\t'*}")
    done
    if [ ${#COMPREPLY[@]} -eq 1 ]; then
        [[ ${COMPREPLY[0]} != *= ]] || compopt -o nospace 2>/dev/null
        return 0
    fi
    [ ${#COMPREPLY[@]} -eq 0 ] || return 0
    [ "$cur" != = ] || cur=
    case $kind in
    files) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    directories) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
    esac
}
complete -F _wslctl wslctl
