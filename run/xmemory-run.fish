# SPDX-License-Identifier: BSD-3-Clause
complete -c xmemory-run -s l -l limit -x -d 'Most memory'
complete -c xmemory-run -s t -l tmpdir -r -a '(__fish_complete_directories)' -d 'Where VM files go'
complete -c xmemory-run -s s -l stats -d 'A line on stderr for each process that ends'
complete -c xmemory-run -l help -d 'Print the help'
complete -c xmemory-run -l version -d 'Print the version'
complete -c xmemory-run -xa '(__fish_complete_subcommand)'
