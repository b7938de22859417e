#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: durable.sh PROGRAM [MIB [ROUNDS]]
# Runs bench/durable on ext4 and xfs on loop devices, where root may mount them: the device's counter then counts nothing else. Elsewhere in
# a folder here. BENCH_DIR (default: this folder) is where the disks' images lie: they take about seven times MIB.
set -u
program=$1
shift
tmp=$(mktemp -d "${BENCH_DIR:-.}/durable.XXXXXX") || exit 2
trap 'umount "$tmp/mount" 2>/dev/null; rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM
mkdir "$tmp/mount"
size=$((${1:-1024} * 8 + 512))M

run_on() {
	truncate -s "$size" "$tmp/image" && "mkfs.$1" -q "$tmp/image" && mount -o loop "$tmp/image" "$tmp/mount" || return 1
	shift
	"$@" || exit
	umount "$tmp/mount"
	rm -f "$tmp/image"
}

done=no
for fs in ext4 xfs; do
	command -v "mkfs.$fs" >/dev/null || continue
	echo "== $fs on a loop device"
	if run_on "$fs" "$program" "$tmp/mount" "$@" 2>"$tmp/errors"; then
		done=yes
	else
		cat "$tmp/errors"
		echo "$fs cannot be made and mounted here"
		rm -f "$tmp/image"
	fi
done
[ "$done" = no ] || exit 0
echo "== here; the device's counter counts other programs' writes, too"
"$program" "$tmp" "$@"
