#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: dictheap-demo.sh DIRECTORY-OF-DICTHEAP [WORDLIST]
# Without a list: Debian's, of the package wamerican.
#
# Builds a dictionary in a heap, opens it again and again, also from several processes at once, and checks each answer
# with grep on the list. Exits non-zero when one differs.
set -u
LC_ALL=C
export LC_ALL

programs=$(cd "${1:?usage: dictheap-demo.sh DIRECTORY-OF-DICTHEAP [WORDLIST]}" && pwd) || exit 2
list=${2:-/usr/share/dict/american-english}
[ -r "$list" ] || list=/usr/share/dict/words
if [ ! -r "$list" ] || { [ $# -gt 1 ] && [ "$list" != "$2" ]; }; then
	echo "demo: no word list ${2:-in /usr/share/dict}; Debian's package wamerican has one:" >&2
	echo "      apt-get install wamerican, or name another file, one word a line" >&2
	exit 2
fi
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM
heap=$tmp/dict.heap

# same NAME: the answer in $tmp/NAME is grep's, in $tmp/NAME.grep; grep is right about what there is, sort about its order.
same() {
	sort "$tmp/$1.grep" | cmp -s - "$tmp/$1" && return
	echo "  $1: DIFFERENT from grep on $list"
	return 1
}

# reader N: one of several at once. Its own questions, each a fresh process that opens the heap.
reader() {
	start=$(printf '%s\n' a qu un z B Mac xy th | sed -n "$1p")
	"$programs/dictheap" prefix "$heap" "$start" >"$tmp/prefix-$1"
	[ $? -le 1 ] || return 1
	grep -- "^$start" "$list" >"$tmp/prefix-$1.grep"
	same "prefix-$1" || return 1
	# Every so many-th word, and as many that are none. (A line without a word is no question.)
	awk -v n="$1" 'NR % 997 == n * 100 && /./ { print; print $0 "q" }' "$list" | sort -u >"$tmp/words-$1"
	xargs -d '\n' -r "$programs/dictheap" find "$heap" <"$tmp/words-$1" >"$tmp/find-$1"
	grep -Fx -f "$tmp/words-$1" "$list" >"$tmp/find-$1.grep"
	same "find-$1"
}

echo "== A dictionary of $list is built in a heap."
"$programs/dictheap" build "$heap" "$list" || exit 1
[ "$("$programs/dictheap" prefix "$heap" '' | wc -l)" -eq "$(grep -c . "$list")" ] || exit 1

echo "== Each run from now on just opens it."
"$programs/dictheap" build "$heap" "$list" >"$tmp/again" || exit 1
cat "$tmp/again"
grep -q 'is there' "$tmp/again" || { echo 'demo: it was built twice'; exit 1; }
word=$(sed -n '/./{p;q;}' "$list")
for run in 1 2 3; do
	DICTHEAP_TIME=1 "$programs/dictheap" find "$heap" "$word" 2>&1 >"$tmp/answer" | sed "s/^/  run $run: /"
	[ "$(cat "$tmp/answer")" = "$word" ] || { echo "demo: $word is not found"; exit 1; }
done

echo "== Eight readers at once; grep checks their answers."
readers=
for n in 1 2 3 4 5 6 7 8; do
	reader $n &
	readers="$readers $!"
done
wrong=0
for pid in $readers; do
	wait "$pid" || wrong=$((wrong + 1))
done
if [ $wrong -ne 0 ]; then
	echo "demo: $wrong readers had wrong answers"
	exit 1
fi
echo "$(cat "$tmp"/prefix-? "$tmp"/find-? | wc -l) words found; all answers equal grep's."
