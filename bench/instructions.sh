#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# instructions.sh FOLDER: instructions for one malloc and one free, the loop around them included; exact where times are
# noisy. Each figure is the difference between two runs under callgrind, divided by the operations that the longer one
# has more; so starting up is not in it. Callgrind leaves malloc alone, and the programs call their allocators by name.
folder=${1:?usage: instructions.sh FOLDER-OF-THE-PROGRAMS}
valgrind=${VALGRIND:-valgrind}
adapters=${ADAPTERS:-qalloc qalloc-static mmalloc mmalloc-anon shmbuddy mimalloc}
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM

# count PROGRAM WORKLOAD OPERATIONS: all instructions of a run; nothing when the program cannot do it. In the build
# folder a program may be libtool's script, which is counted too: the largest count is the program's.
count() {
	"$valgrind" --tool=callgrind --trace-children=yes --callgrind-out-file=/dev/null "$1" "$2" "$3x" 1 "$tmp/heap" 600 \
		>"$tmp/log" 2>&1
	case $? in
	0) sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$tmp/log" | sort -n | tail -n 1 ;;
	77) ;;
	*) cat "$tmp/log" >&2 ;;
	esac
}

# pair ADAPTER WORKLOAD: instructions an operation.
pair() {
	few=$(count "$folder/bench-$1" "$2" 100000)
	many=$(count "$folder/bench-$1" "$2" 300000)
	awk -v few="$few" -v many="$many" 'BEGIN { if (few == "" || many == "") print "-"; else printf "%.1f\n", (many - few) / 200000 }'
}

printf 'Instructions for one malloc and one free, the loop included.\n\n| |'
for adapter in $adapters; do
	printf ' %s |' "$adapter"
done
printf '\n|---|'
for adapter in $adapters; do
	printf -- '---|'
done
printf '\n'
while read -r letter title; do
	printf '| %s %s |' "$letter" "$title"
	for adapter in $adapters; do
		printf ' %s |' "$([ -x "$folder/bench-$adapter" ] && pair "$adapter" "$letter" || echo -)"
	done
	printf '\n'
done <<END
A pairs of 64 B, empty heap
a the same, 300 others live
B 10,000 of 64 B, then their frees
C 16..1024 B in 10,000 slots
F 4..256 KiB in 256 slots
END
