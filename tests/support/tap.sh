# SPDX-License-Identifier: BSD-3-Clause
#
# For script tests: `. "$MA_SRCDIR/tests/support/tap.sh"`, then ok, check or skip a case each, and finish at the end.
cases=0 failed=0 skipped=0

# ok STATUS NAME [EVIDENCE]: one result; a failure shows what was found.
ok() {
	cases=$((cases + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $cases - $2"
	else
		failed=$((failed + 1))
		echo "not ok $cases - $2"
		[ -z "$3" ] || printf '%s\n' "$3" | sed 's/^/# /'
	fi
}

# none NAME EVIDENCE: a rule that nothing may break; EVIDENCE lists what does.
none() {
	[ -z "$2" ]
	ok $? "$1" "$2"
}

# check NAME COMMAND...: the command succeeds.
check() {
	name=$1
	shift
	out=$("$@" 2>&1)
	ok $? "$name" "$* :
$out"
}

# skip NAME REASON
skip() {
	cases=$((cases + 1)) skipped=$((skipped + 1))
	echo "ok $cases - $1 # SKIP $2"
}

finish() {
	echo "1..$cases"
}

# finish_alone: for what no driver runs: the line that .ci/run adds up, and an exit status.
finish_alone() {
	finish
	echo "$((cases - failed - skipped)) passed, $failed failed, $skipped skipped"
	[ "$failed" -eq 0 ]
}

# tracked: the project's files, relative to $MA_SRCDIR; in an unpacked tarball, all files that are not generated.
tracked() {
	if [ -e "$MA_SRCDIR/.git" ]; then
		git -C "$MA_SRCDIR" -c safe.directory='*' ls-files
	else
		(cd "$MA_SRCDIR" && find . -name '_*' -prune -o -name build-aux -prune -o -name autom4te.cache -prune -o \
			-name .debhelper -prune -o -type f ! -path './debian/autoreconf.*' ! -path './debian/*.debhelper*' \
			! -path './debian/*stamp' ! -name '*~' ! -name Makefile.in ! -name aclocal.m4 ! -name configure ! -path './m4/l*' -print) |
			sed 's,^\./,,'
	fi
}
