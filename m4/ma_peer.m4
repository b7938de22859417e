dnl SPDX-License-Identifier: BSD-3-Clause
dnl
dnl MA_PEER([NAME], [PKG-CONFIG MODULES]): a peer of the benchmark, built when its modules are there. Sets HAVE_NAME,
dnl NAME_CFLAGS (its headers are not ours: -isystem keeps our warnings out of them) and NAME_LIBS.
AC_DEFUN([MA_PEER],
[PKG_CHECK_MODULES([$1],[$2],
	[$1_CFLAGS=`AS_ECHO(["$$1_CFLAGS"]) | $SED 's/-I/-isystem /g'`
	 MA_PEERS="$MA_PEERS $2"
	 have_peer=yes],
	[have_peer=no])
AM_CONDITIONAL([HAVE_$1],[test "x$have_peer" = xyes])
])
