# SPDX-License-Identifier: BSD-3-Clause
#
# Completion of mapalloc for fish. It asks the program for commands and options, so they are never out of date.

function __mapalloc_commands
    mapalloc --help 2>/dev/null | string replace -rf '^  ([a-z]+)  *(.*)' '$1\t$2'
end

function __mapalloc_options
    set -l words (commandline -opc)
    mapalloc $words[2] --help 2>/dev/null | string replace -rf '^  [- ][a-z ][, ] (--[a-z-]+).*' '$1'
end

function __mapalloc_at
    test (count (commandline -opc)) -eq $argv[1]
end

# The word at this place is one of the others.
function __mapalloc_word
    set -l words (commandline -opc)
    contains -- "$words[$argv[1]]" $argv[2..]
end

complete -c mapalloc -n '__mapalloc_at 1' -f -a '(__mapalloc_commands)'
complete -c mapalloc -n 'not __mapalloc_at 1; and string match -q -- "-*" (commandline -ct)' -f -a '(__mapalloc_options)'
complete -c mapalloc -n '__mapalloc_word 2 create; and __mapalloc_at 2' -f -a 'qalloc-static qalloc-dynamic mmalloc shmbuddy'
complete -c mapalloc -n '__mapalloc_word 2 set; and __mapalloc_at 3' -f -a 'durable=on durable=off'
complete -c mapalloc -n '__mapalloc_word 2 reap' -f -a '(__fish_complete_directories)'
complete -c mapalloc -n '__mapalloc_word -1 --color' -f -a 'auto always never'
complete -c mapalloc -n '__mapalloc_word -1 --layout -l' -f -a 'hilbert rows'
