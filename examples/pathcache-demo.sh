#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: pathcache-demo.sh DIRECTORY-OF-PATHCACHE [TREE...]
# Without a tree: the whole file system, but for what has changed in the last ten minutes.
#
# Several processes put the real paths of 20,000 files into one region; one of them is killed in the middle. Then a fresh
# process asks for all of them, and realpath checks each answer. Exits non-zero when one differs or is missing.
set -u
LC_ALL=C
export LC_ALL

programs=$(cd "${1:?usage: pathcache-demo.sh DIRECTORY-OF-PATHCACHE [TREE...]}" && pwd) || exit 2
shift
[ $# -gt 0 ] || set -- / -cmin +10
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM

# Names that lead somewhere, a line each; not to /proc/self, which is another place for each who asks.
tab=$(printf '\t')
find "$@" -xdev ! -xtype l ! -path '*[[:cntrl:]]*' 2>"$tmp/errors" | head -n 20000 >"$tmp/found"
xargs -d '\n' realpath -m -- <"$tmp/found" | paste "$tmp/found" - | grep -v "$tab/proc/" >"$tmp/pairs"
cut -f 1 "$tmp/pairs" >"$tmp/names"
sort "$tmp/pairs" >"$tmp/truth"
count=$(wc -l <"$tmp/names")
if [ "$count" -lt 1000 ]; then
	echo "demo: only $count files in $*: too few" >&2
	exit 2
fi

echo "== Several processes put the real paths of $count files into one region; one is killed."
# The killed one may have been quicker (status 1): then begin again.
for try in 1 2 3 4 5 6 7 8 9 10; do
	rm -f "$tmp/region"
	"$programs/pathcache" fill "$tmp/region" "$tmp/names"
	status=$?
	[ "$status" -eq 1 ] || break
done
[ "$status" -eq 0 ] || { echo 'demo: filling went wrong'; exit 1; }

echo "== A fresh process asks for each of them; realpath knows the answers."
"$programs/pathcache" ask "$tmp/region" "$tmp/names" >"$tmp/answers" || { echo 'demo: asking went wrong'; exit 1; }
sort "$tmp/answers" | comm -23 - "$tmp/truth" >"$tmp/wrong"
# A file that was removed meanwhile has no real path.
while IFS= read -r line; do
	name=${line%"$tab"}
	if [ "$name" = "$line" ] || [ -e "$name" ]; then
		printf '  DIFFERENT: %s\n' "$line"
		status=1
	fi
done <"$tmp/wrong"
answers=$(wc -l <"$tmp/answers")
# Three of four workers lived, and the other one did half.
if [ $((answers * 8)) -lt $((count * 7 - 80)) ]; then
	echo "demo: only $answers answers"
	status=1
fi
[ "$status" -eq 0 ] || exit 1
echo "$answers answers; all equal realpath's."
