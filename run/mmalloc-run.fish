# SPDX-License-Identifier: BSD-3-Clause
complete -c mmalloc-run -s f -l heap -r -d 'The heap file'
complete -c mmalloc-run -l replace -d 'Remove the file first'
complete -c mmalloc-run -l follow -d 'Keep the heaps of fork children too'
complete -c mmalloc-run -l any-owner -d 'Take a file of another user'
complete -c mmalloc-run -s s -l stats -d 'A line on stderr for each process that ends'
complete -c mmalloc-run -l help -d 'Print the help'
complete -c mmalloc-run -l version -d 'Print the version'
complete -c mmalloc-run -xa '(__fish_complete_subcommand --fcs-skip=2)'
