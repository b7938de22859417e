#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: demo.sh [DIRECTORY-OF-WORDINDEX [TREE...]]
# Without a directory: $MA_BUILDDIR/examples. Without a tree: texts that each Debian machine has.
#
# Several processes index real text files into one map; one of them is killed in the middle. Then
# new processes open the map and answer, and grep reads all the texts to check each answer. Last, an image is
# filtered that is larger than the RAM it may have. Exits non-zero when an answer or a pixel differs.
set -u
LC_ALL=C
export LC_ALL

[ $# -gt 0 ] || set -- "${MA_BUILDDIR:?usage: demo.sh DIRECTORY-OF-WORDINDEX [TREE...]}/examples"
programs=$(cd "$1" && pwd) || exit 2
shift
[ $# -gt 0 ] || set -- /usr/share/common-licenses /usr/share/doc
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM
index=$tmp/index.map
wrong=0

ms() { echo $(($(date +%s%N) / 1000000)); }

# All files with this word, of those named (closed by zeros) in a file.
grep_word() {
	xargs -0 -r grep -laiEZ -e "(^|[^A-Za-z0-9])$1([^A-Za-z0-9]|\$)" -- <"$2"
}

# All files that hold all of these words.
grep_words() {
	cp "$tmp/texts" "$tmp/left"
	for word; do
		grep_word "$word" "$tmp/left" >"$tmp/next"
		mv "$tmp/next" "$tmp/left"
	done
	tr '\0' '\n' <"$tmp/left" | sort -u
}

compare() {
	"$programs/wordindex" "$index" query --time "$@" >"$tmp/answer" 2>"$tmp/times"
	[ $? -le 1 ] || { cat "$tmp/times"; exit 1; }
	start=$(ms)
	grep_words "$@" >"$tmp/grep"
	verdict=equal
	sort "$tmp/answer" | cmp -s - "$tmp/grep" || { verdict=DIFFERENT; wrong=$((wrong + 1)); }
	printf '  %6d  %-26s %7s ms %7s ms   %s\n' "$(wc -l <"$tmp/answer")" "$*" \
		"$(sed 's/.*answered in \([0-9.]*\) ms/\1/' "$tmp/times")" $(($(ms) - start)) "$verdict"
}

echo "== Several processes index $* into one map; one is killed."
# Where there are very few files, all may be done before one is killed (status 1): then begin again.
for try in 1 2 3 4 5 6 7 8 9 10; do
	rm -f "$index"
	"$programs/wordindex" "$index" build --kill-one "$@"
	status=$?
	[ "$status" -eq 1 ] || break
done
[ "$status" -eq 0 ] || wrong=1

echo "== A new process opens the map."
"$programs/wordindex" "$index" stat || wrong=1

echo "== Questions. Each is a process of its own; grep, reading all the texts, checks it."
# The texts, found without wordindex: plain files with no zero byte.
find -H "$@" -type f ! -name '*.gz' -print0 | xargs -0 -r grep -LaPZ '\x00' -- >"$tmp/texts"
echo "   files  words                       wordindex       grep"
compare the
compare license
compare warranty merchantability
compare WITHOUT any Warranty
compare gpl lgpl mpl
compare 1991
compare sublicensable
compare x
compare nosuchwordanywhere

echo "== An image larger than its RAM."
if [ ! -x "$programs/bigimage" ]; then
	echo "$programs has no bigimage (libxmemory's example): left out"
else
	(cd "$tmp" && XMEMORY_TMPDIR=$tmp exec "$programs/bigimage") || wrong=$((wrong + 1))
fi

if [ "$wrong" -ne 0 ]; then
	echo "demo: something went wrong"
	exit 1
fi
echo "All answers equal grep's. Nothing but the map was opened to find them."
