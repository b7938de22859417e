#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# For script tests: `. "$MA_SRCDIR/tests/support/layers.sh"`. What breaks the order of a list of sources, in which a file includes and
# calls only what stands above it. A header's own .c stands right behind it.

# upward_includes LIST-OF-SOURCES FOLDER: lines "file:number: header" from includes "header" in FOLDER, on standard input
# "file:number:"header"". Run in $MA_SRCDIR.
upward_includes() {
	awk -F: -v list="$1" -v folder="$2" '
		BEGIN { n = split(list, source, " "); for (i = 1; i <= n; i++) rank[source[i]] = i }
		{
			header = $3
			gsub(/"/, "", header)
			if (!((folder header) in rank) || rank[folder header] > rank[$1])
				print $1 ":" $2 ": " header
		}'
}

# object_of FOLDER NAME [PREFIX]: the object of NAME.c, or nothing. Libtool has those of shared libraries in .libs, and names them by the
# library that they are for, when a file is compiled into several.
object_of() {
	for object in "$1"/.libs/${3:-*}-"$2".o "$1"/${3:-*}-"$2".o "$1/$2".o; do
		[ ! -f "$object" ] || { printf '%s\n' "$object"; return; }
	done
}

# upward_calls LIST-OF-SOURCES OBJECT-FOLDER [PREFIX]: lines "caller.c: function in callee.c" for functions, and for variables, that stand
# further down in the list; "file.c: no object" for one that was not compiled.
upward_calls() {
	for source in $1; do
		case $source in *.c) ;; *) continue ;; esac
		name=${source##*/}
		object=$(object_of "$2" "${name%.c}" "$3")
		if [ -n "$object" ]; then
			printf '@ %s\n' "$name"
			$MA_NM -P "$object"
		else
			printf '! %s\n' "$name"
		fi
	done | awk '
		$1 == "!" { print $2 ": no object"; next }
		$1 == "@" { file[++n] = $2; next }
		$2 ~ /^[Uvw]$/ { uses++; user[uses] = n; used[uses] = $1; next }
		$2 ~ /^[A-Z]$/ && !($1 in home) { home[$1] = n }
		END {
			for (i = 1; i <= uses; i++)
				if (used[i] in home && home[used[i]] > user[i])
					print file[user[i]] ": " used[i] " in " file[home[used[i]]]
		}'
}
