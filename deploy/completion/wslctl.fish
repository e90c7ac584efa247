# SPDX-License-Identifier: Apache-2.0
# fish completion for wslctl, which says itself what may come next (client/wslctl/complete.c).

function __wslctl_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l answer ($words[1] __complete $words[2..-1] 2>/dev/null)
    set -l kind $answer[1]
    if test (count $answer) -gt 1
        printf '%s\n' $answer[2..-1]
        return
    end
    switch "$kind"
        case files
            __fish_complete_path (commandline -ct)
        case directories
            __fish_complete_directories (commandline -ct)
    end
end
complete -c wslctl -f -a '(__wslctl_complete)'
