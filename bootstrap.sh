#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# bootstrap.sh TARGET... [VAR=VALUE...]: from a fresh clone to `make TARGET` in one command, on a machine that has only gcc, make
# and git. Installs missing packages when root (else says which), then autoreconf and configure when something they
# read has changed, then make. Each step is one line; its output goes to a log, whose end is shown when it fails.
#
#   MA_BUILD      build folder, relative to the clone (_build)
#   MA_CONFIGURE  arguments for configure, e.g. --enable-sanitizer=address,undefined
#   MA_PACKAGES   further packages to install
#   MA_JOBS       jobs at a time (number of processors)
set -uo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P) || exit 1
cd "$top" || exit 1

build=${MA_BUILD:-_build}
build=${build#"$top"/}
jobs=${MA_JOBS:-$(nproc)}
read -ra configure_args <<<"${MA_CONFIGURE:-}"

if [ $# -eq 0 ] || [ "$1" = -h ] || [ "$1" = --help ]; then
	echo "usage: $0 TARGET... [VAR=VALUE...]   (check, check-all, demo, bench, all, install, check-valgrind, distcheck, deb, ...)" >&2
	exit 2
fi

# A make that called us has no say in our own.
unset MAKEFLAGS MFLAGS MAKELEVEL

die() {
	printf 'bootstrap.sh: %s\n' "$*" >&2
	exit 1
}

# The terminal, if there is one; check-all, whose parts write into a pipe, hands it down.
exec 8>&"${MA_TERMINAL:-1}"

# meter_on NAME TEST.log...: on a terminal, say every second how far these tests are. In the background: make keeps the terminal's signals.
meter_on() {
	local name=$1 start=$SECONDS times=$top/$build/log/times
	shift
	[ -t 8 ] && [ $# -gt 0 ] || return 0
	[ -s "$times" ] || times=$top/tests/support/times
	(
		cd "$build" || exit
		while sleep 1 && kill -0 $$; do
			read -r _ columns < <(stty size <&8)
			line="$name ... $(bash "$top/tests/support/meter" $((SECONDS - start)) "$times" "$@")"
			printf '\r\033[K%s' "${line:0:$((${columns:-80} > 20 ? ${columns:-80} - 1 : 79))}" >&8
		done
	) 2>/dev/null &
	meter=$!
}

meter_off() {
	[ -n "$meter" ] || return 0
	kill "$meter" 2>/dev/null
	wait "$meter" 2>/dev/null
	meter=
	printf '\r\033[K%s ... ' "$1" >&8
}
meter=
trap '[ -z "$meter" ] || kill "$meter" 2>/dev/null' EXIT

# step NAME COMMAND...: one line while it runs; its output is in $log. $watched: the logs of the tests that it runs.
watched=()
step() {
	local name=$1 start=$SECONDS status
	shift
	log=$top/$build/log/${name%% *}.log
	mkdir -p "$top/$build/log" || die "cannot write in $top/$build"
	printf '%s ... ' "$name"
	meter_on "$name" ${watched[@]+"${watched[@]}"}
	"$@" >"$log" 2>&1 </dev/null 8>&-
	status=$?
	meter_off "$name"
	if [ $status -eq 0 ]; then
		printf 'done (%d s)\n' $((SECONDS - start))
	else
		printf 'FAILED (%d s)\n' $((SECONDS - start))
	fi
	return $status
}

show_log() {
	printf -- '--- the last lines of %s\n' "$log" >&2
	tail -n "${1:-30}" "$log" >&2
}

must() {
	step "$@" || { show_log; exit 1; }
}

# have COMMAND...: all of them are there.
have() {
	command -v "$@" >/dev/null 2>&1 && [ "$(command -v "$@" | wc -l)" -eq $# ]
}

# The packages that TARGETs need and that are missing. One line each: what proves that it is there, and its name.
missing_packages() {
	have autoreconf || echo autoconf
	have automake || echo automake
	have libtoolize || echo libtool
	have pkg-config || echo pkg-config
	have gcc || have cc || echo gcc
	have g++ || have c++ || echo g++
	have make || echo make
	have valgrind && [ -e /usr/include/valgrind/memcheck.h ] || echo valgrind
	[ -e /usr/share/aclocal/ax_append_compile_flags.m4 ] || echo autoconf-archive
	have pkg-config && pkg-config --exists glib-2.0 || echo libglib2.0-dev
	[ -e /usr/include/xxhash.h ] || echo libxxhash-dev
	[ "$want_check" = no ] || have mtrace || echo libc-devtools
	# Without it tests/install/m32 is skipped, so no other user is asked for it.
	[ "$want_check" = no ] || [ "$(id -u)" -ne 0 ] || ! have apt-get || [ "$(uname -m)" != x86_64 ] ||
		compgen -G '/usr/lib/gcc/x86_64-linux-gnu/*/32/libgcc.a' >/dev/null || echo gcc-multilib
	[ "$want_check" = no ] || have sqlite3 || echo sqlite3
	[ "$want_check" = no ] || [ -x /usr/bin/python3 ] || echo python3
	# Without them tests/install/projects and a part of tests/install/man are skipped, so no other user is asked for them.
	if [ "$want_projects" = yes ] && [ "$(id -u)" -eq 0 ] && have apt-get; then
		have cmake || echo cmake
		have meson || echo meson
		have ninja || echo ninja-build
		have zsh || echo zsh
		have fish || echo fish
	fi
	[ "$want_man" = no ] || have python3 || echo python3
	# Without it tests/install/man looks at the pages with man alone, so no other user is asked for it.
	[ "$want_check" = no ] || [ "$(id -u)" -ne 0 ] || ! have apt-get || have mandoc || echo mandoc
	if [ "$want_fuzz" = yes ]; then
		have clang || echo clang
		have clang && compgen -G "$(clang -print-runtime-dir)/libclang_rt.fuzzer*" >/dev/null || echo libclang-rt-dev
	fi
	[ "$want_model" = no ] || have spin || echo spin
	[ "$want_afl" = no ] || have afl-fuzz || echo afl++
	[ "$want_abi" = no ] || have abidiff || echo abigail-tools
	[ "$want_deb" = no ] || missing_for_packages
	[ "$want_words" = no ] || [ -r /usr/share/dict/american-english ] || [ -r /usr/share/dict/words ] || echo wamerican
	if [ "$want_doc" = yes ]; then
		have doxygen || echo doxygen
		have dot || echo graphviz
		[ -e /usr/share/doxygen-awesome-css/doxygen-awesome.css ] || echo doxygen-awesome-css
		[ -e /usr/share/javascript/lunr/lunr.min.js ] || echo libjs-lunr
		[ -e /usr/lib/python3/dist-packages/lunr ] || echo python3-lunr
		have python3 || echo python3
	fi
	for package in ${MA_PACKAGES:-}; do
		dpkg-query -W -f '${db:Status-Abbrev}\n' "$package" 2>/dev/null | grep -q '^ii' || echo "$package"
	done
}

# What debian/control asks for; its own line says what that is, and the tools of check-deb.
missing_for_packages() {
	have dpkg-checkbuilddeps || { echo dpkg-dev; return; }
	dpkg-checkbuilddeps 2>&1 | sed -n 's/^dpkg-checkbuilddeps: error: Unmet build dependencies: //p' |
		sed 's/([^)]*)//g; s/:[a-z]*//g; s/ | [^ ]*//g' | tr -s ' ' '\n'
	[ "$want_deb" = check ] || return 0
	have lintian || echo lintian
	have blhc || echo blhc
	have hardening-check || echo devscripts
	have autopkgtest || echo autopkgtest
	have cmake || echo cmake
	have meson || echo meson
	# What the tests of python3-mapalloc use.
	have mypy || echo mypy
	[ -e /usr/lib/python3/dist-packages/numpy ] || echo python3-numpy
}

# The allocators that the benchmark compares with, those that are missing; each is optional.
missing_peers() {
	[ "$want_bench" = yes ] || return
	[ -e /usr/include/mimalloc.h ] || echo libmimalloc-dev
	[ -e /usr/include/boost/interprocess/managed_mapped_file.hpp ] || echo libboost-dev
	[ -e /usr/include/jemalloc/jemalloc.h ] || echo libjemalloc-dev
	[ -e /usr/include/gperftools/tcmalloc.h ] || echo libgoogle-perftools-dev
	[ -e /usr/include/libpmemobj.h ] || echo libpmemobj-dev
	[ -e /usr/include/memkind.h ] || echo libmemkind-dev
	[ -e /usr/include/apr-1.0/apr.h ] || echo libapr1-dev
	[ -e /usr/include/apr-1.0/apr_rmm.h ] || echo libaprutil1-dev
	[ -e /usr/include/lmdb.h ] || echo liblmdb-dev
	[ -e /usr/include/sqlite3.h ] || echo libsqlite3-dev
}

# What this machine's apt does not know, or cannot install, is left out with a line.
install_peers() {
	local peer known=()
	[ $# -gt 0 ] || return 0
	if ! have apt-get || [ "$(id -u)" -ne 0 ]; then
		printf 'bench: not compared with, because not installed: %s\n' "$*"
		return 0
	fi
	step 'peers-update' apt-get update || true
	for peer; do
		if [ -n "$(apt-cache madison "$peer" 2>/dev/null)" ]; then
			known+=("$peer")
		else
			printf 'bench: apt does not know %s: left out\n' "$peer"
		fi
	done
	[ ${#known[@]} -gt 0 ] || return 0
	step "peers (${known[*]})" apt-get install -y --no-install-recommends "${known[@]}" && return
	for peer in "${known[@]}"; do
		step "peer-$peer" apt-get install -y --no-install-recommends "$peer" || printf 'bench: %s is left out\n' "$peer"
	done
}

install_packages() {
	apt-get update && apt-get install -y --no-install-recommends "$@"
}

want_bench=no
want_check=no
want_projects=no
want_doc=no
want_fuzz=no
want_afl=no
want_words=no
want_model=no
want_deb=no
want_abi=no
want_man=no
targets=()
variables=()
for argument; do
	case $argument in
	*=*) variables+=("$argument") ;;
	*) targets+=("$argument") ;;
	esac
	case $argument in
	bench* | callgrind) want_bench=yes ;;
	check-model) want_model=yes ;;
	deb) want_deb=yes ;;
	check-deb) want_deb=check ;;
	check-abi | accept-abi) want_abi=yes ;;
	doc | check-doc | html | install-html) want_doc=yes ;;
	check-all | check-long | distcheck) want_check=yes want_projects=yes ;;
	check*) want_check=yes ;;
	fuzz) want_fuzz=yes ;;
	fuzz-afl) want_afl=yes ;;
	demo) want_words=yes ;;
	man | install-man) want_man=yes ;;
	esac
done

export DEBIAN_FRONTEND=noninteractive
mapfile -t missing < <(missing_packages)
if [ ${#missing[@]} -gt 0 ]; then
	if ! have apt-get; then
		die "missing, under the names of Debian's packages: ${missing[*]}"
	elif [ "$(id -u)" -ne 0 ]; then
		die "missing packages; run this, then try again:
  sudo apt-get update && sudo apt-get install -y ${missing[*]}"
	fi
	must "packages (${missing[*]})" install_packages "${missing[@]}"
	# One more round: what tells the names of others may have been missing itself.
	mapfile -t missing < <(missing_packages)
	if [ "$want_deb" != no ] && [ ${#missing[@]} -gt 0 ]; then
		must "packages (${missing[*]})" install_packages "${missing[@]}"
		mapfile -t missing < <(missing_packages)
	fi
	[ ${#missing[@]} -eq 0 ] || die "still missing after installing: ${missing[*]}"
fi
mapfile -t missing < <(missing_peers)
install_peers ${missing[@]+"${missing[@]}"}

# Two runs at once in one clone must not both write configure.
mkdir -p "$build" && exec 9>"$top/.bootstrap.lock" && flock 9 || die 'cannot lock the clone'

# configure and Makefile.in are stale when anything they are made from is newer, or is gone.
stale() {
	[ -e configure ] && [ -e Makefile.in ] && [ -e build-aux/tap-driver.sh ] || return 0
	[ -n "$(find configure.ac Makefile.am m4/ma_*.m4 ./*/Makemodule.am ./*/*/Makemodule.am -newer Makefile.in)" ] && return 0
	[ -n "$(find configure.ac m4/ma_*.m4 -newer configure)" ]
}
if stale; then
	must autoreconf autoreconf --install --force
	# autoreconf leaves a file alone whose content would not change; it is fresh all the same.
	touch aclocal.m4
	touch configure Makefile.in
fi

arguments="CC=${CC:-} CXX=${CXX:-} CFLAGS=${CFLAGS:-} $(have valgrind && echo valgrind) $(have python3 && echo python3)"
# Peers that were installed since must be found.
arguments+=" $(want_bench=yes missing_peers | tr '\n' ' ')"
arguments+=" ${configure_args[*]-}"
# libtool is a script, which runs a thousand times: dash takes two thirds of bash's time.
configure() (
	[ -n "${CONFIG_SHELL-}" ] || ! have dash || export CONFIG_SHELL=$(command -v dash)
	cd "$build" && "$top/configure" ${configure_args[@]+"${configure_args[@]}"}
)
if [ ! -e "$build/Makefile" ] || [ configure -nt "$build/config.status" ] ||
	[ "$(cat "$build/.arguments" 2>/dev/null)" != "$arguments" ]; then
	must configure configure
	printf '%s\n' "$arguments" >"$build/.arguments"
fi
exec 9>&-

# What a change must pass before it goes in: check, and what takes longer. All of it runs, whatever fails; the last line counts. A
# part without counts of its own adds one failure when it fails.
check_all() {
	local part passed=0 failed=0 skipped=0 status broken out=$build/log/check-all.out
	mkdir -p "$build/log" || die "cannot write in $build"
	for part in check check-crash check-power check-long check-model check-abi check-doc check-deb; do
		if [ $part = check-deb ] && { [ "$(id -u)" -ne 0 ] || ! have apt-get dpkg-buildpackage; }; then
			printf 'skipped: check-deb: packages are built and installed by root, on Debian\n'
			skipped=$((skipped + 1))
			continue
		fi
		MA_TERMINAL=8 "$top/bootstrap.sh" $part ${variables[@]+"${variables[@]}"} 2>&1 | tee "$out"
		status=${PIPESTATUS[0]} broken=0
		if [[ $(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$out" | tail -n 1) =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+) ]]; then
			passed=$((passed + BASH_REMATCH[1])) broken=${BASH_REMATCH[2]} skipped=$((skipped + BASH_REMATCH[3]))
		fi
		if [ "$status" -ne 0 ] && [ "$broken" -eq 0 ]; then
			printf 'failed:  %s: ended with status %d\n' "$part" "$status"
			broken=1
		fi
		failed=$((failed + broken))
	done
	printf 'check-all: %d s\n' "$SECONDS"
	printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
	[ "$failed" -eq 0 ]
}

for target in ${targets[@]+"${targets[@]}"}; do
	case $target in
	check-crash|check-power)
		must build make -C "$build" -j"$jobs" build-all
		make --no-print-directory -s -C "$build" "$target" ${variables[@]+"${variables[@]}"} || exit 1
		;;
	check-abi|check-deb)
		must build make -C "$build" -j"$jobs" all
		make --no-print-directory -s -C "$build" "$target" ${variables[@]+"${variables[@]}"} || exit 1
		;;
	check-doc)
		make --no-print-directory -s -C "$build" check-doc ${variables[@]+"${variables[@]}"} || exit 1
		;;
	check-model)
		mkdir -p "$build"
		make --no-print-directory -s -C "$build" check-model ${variables[@]+"${variables[@]}"} || exit 1
		;;
	check-all)
		check_all || exit 1
		;;
	check|check-*)
		tests=() needs=all
		case $target in
		check-valgrind | check-threads | check-sanitize) tests=("TESTS=\$(part_tests_${target#check-})") needs=build-${target#check-} ;;
		check) tests=('TESTS=$(check_tests)') ;;
		check-long) tests=('TESTS=$(long_tests) $(project_tests)') ;;
		esac
		must build make -C "$build" -j"$jobs" "$needs"
		find "$build" \( -name '*.trs' -o -name '*.progress' \) -delete
		mapfile -t watched < <(make -s -C "$build" print-tests ${tests[@]+"${tests[@]}"} ${variables[@]+"${variables[@]}"} 2>/dev/null)
		# One more than processors: some tests wait for locks and clocks most of their time. The long ones, of which most last a minute
		# by the clock, all at once.
		more=1
		[ "$target" != check-long ] || more=4
		step "$target" make -C "$build" -j$((jobs + more)) "$target" ${tests[@]+"${tests[@]}"} ${variables[@]+"${variables[@]}"}
		status=$?
		watched=()
		# Why tests were skipped, which failed, which took longest, and how many of each.
		mapfile -t results < <(cd "$build" && find tests -name '*.trs' | sort)
		report=$(cd "$build" && MA_TIMES=$([ "$target" = check ] && echo log/times) sh "$top/tests/support/totals" ${results[@]+"${results[@]}"})
		if [ $status -ne 0 ]; then
			grep -q '^failed:' <<<"$report" || show_log
			printf 'logs: %s and %s\n' "$log" "$top/$build/test-suite.log" >&2
		fi
		printf '%s\n' "$report"
		[ $status -eq 0 ] || exit 1
		;;
	fuzz|fuzz-afl)
		must build make -C "$build" -j"$jobs" all
		make --no-print-directory -C "$build" "$target" ${variables[@]+"${variables[@]}"} || exit 1
		;;
	demo|bench|bench-durable|callgrind)
		# The output is what the caller wants to see, so only the build is kept quiet.
		must build make -C "$build" -j"$jobs" "$([ "$target" = demo ] && echo examples || echo bench-build)"
		make --no-print-directory -s -C "$build" "$target" ${variables[@]+"${variables[@]}"} || exit 1
		;;
	*)
		must "$target" make -C "$build" -j"$jobs" "$target" ${variables[@]+"${variables[@]}"}
		;;
	esac
done
