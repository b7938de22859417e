#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: ledger-demo.sh [DIRECTORY-OF-LEDGER [ROUNDS]]
# Without a directory: $MA_BUILDDIR/examples.
#
# Processes move money between accounts of a durable map; then the machine "dies", ROUNDS times (8). What a power cut does to the
# map's file is played: all processes are killed, the file says that it was used before another boot, and some of its pages are older
# versions or random bytes. (tests/tools/cuts and tests/power cut disks in earnest, and at each write.) In each third round the processes
# merely die. Exits non-zero when the sum of all accounts is not what it was, or a reported checkpoint is lost.
set -u
[ $# -gt 0 ] || set -- "${MA_BUILDDIR:?usage: ledger-demo.sh DIRECTORY-OF-LEDGER [ROUNDS]}/examples"
programs=$(cd "$1" && pwd) || exit 2
rounds=${2:-8}
tmp=$(mktemp -d) || exit 2
pids=
trap 'kill -KILL $pids 2>/dev/null; rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM
map=$tmp/ledger.map
wrong=0

# Without libtool's script, which takes longer than a short round.
direct() {
	[ ! -x "$programs/.libs/ledger" ] ||
		exec env LD_LIBRARY_PATH="$programs/../.libs" "$programs/.libs/ledger" "$@"
	exec "$programs/ledger" "$@"
}

# Bytes of a page that the disk has: of an older version of the file, or anything.
lose_pages() {
	pages=$(($(stat -c %s "$map") / 4096))
	shuf -i "1-$((pages - 1))" -n $((pages / 8)) | while read -r page; do
		from=$tmp/older skip=$page
		[ $((page % 3)) -ne 0 ] || from=/dev/urandom skip=0
		dd if="$from" of="$map" bs=4096 skip="$skip" seek="$page" count=1 conv=notrunc status=none
	done
}

# Wait for the report of a checkpoint with at least $1 transfers, or for the end of the process that makes checkpoints.
wait_for_checkpoint() {
	until [ "$(tail -n 1 "$tmp/told")" -ge "$1" ] 2>/dev/null; do
		kill -0 "$keeper" 2>/dev/null || return
		sleep 0.02
	done
}

another_boot() {
	dd if=/dev/urandom of="$map" bs=1 seek=216 count=16 conv=notrunc status=none
}

echo "== Three processes move money, a fourth one makes checkpoints; the machine dies."
(direct "$map" create) || exit 1
echo "   last checkpoint reported  found afterwards    money"
before=0
for round in $(seq "$rounds"); do
	: >"$tmp/told"
	for what in work work work; do
		direct "$map" $what &
		pids="$pids $!"
	done
	direct "$map" keep >"$tmp/told" &
	keeper=$!
	pids="$pids $keeper"
	wait_for_checkpoint $((before + 50))
	sleep "0.$(shuf -i 10-30 -n 1)"
	cp --sparse=always "$map" "$tmp/older"
	sleep "0.$(shuf -i 10-30 -n 1)"
	kill -KILL $pids
	wait 2>/dev/null
	pids=
	how='the processes died'
	if [ $((round % 3)) -ne 0 ]; then
		lose_pages
		another_boot
		how='power cut'
	fi
	told=$(tail -n 1 "$tmp/told")
	found=$(direct "$map" sum) || wrong=1
	before=${found%% *}
	verdict=right
	[ "${found%% *}" -ge "${told:-0}" ] && [ "$wrong" -eq 0 ] || { verdict=WRONG; wrong=1; }
	printf '   %12s transfers %12s transfers %9s   %s: %s\n' "${told:-0}" $(echo "$found" | cut -d ' ' -f 1,2) "$how" "$verdict"
done
if [ "$wrong" -ne 0 ]; then
	echo "ledger-demo: something went wrong"
	exit 1
fi
echo "The accounts have what they had at first, each time."
