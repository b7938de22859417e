dnl SPDX-License-Identifier: BSD-3-Clause
dnl
dnl MA_LIBRARY([NAME], [MAJOR.MINOR.MICRO], [CURRENT:REVISION:AGE])
dnl
dnl Everything that follows from a library's version: NAME_VERSION, NAME_VERSION_MAJOR, _MINOR and _MICRO for
dnl its header and .pc file, NAME_LTVERSION for libtool, and the two generated files themselves.
dnl MA_LIBRARIES collects the names for the tests that visit every library.
AC_DEFUN([MA_LIBRARY],
[m4_bmatch([$2], [^[0-9]+\.[0-9]+\.[0-9]+$], [],
	[m4_fatal([MA_LIBRARY($1): the release must be MAJOR.MINOR.MICRO])])dnl
m4_bmatch([$3], [^[0-9]+:[0-9]+:[0-9]+$], [],
	[m4_fatal([MA_LIBRARY($1): the interface must be CURRENT:REVISION:AGE])])dnl
m4_pushdef([ma_upper], m4_toupper([$1]))dnl
AC_SUBST(ma_upper[_VERSION], [$2])dnl
AC_SUBST(ma_upper[_VERSION_MAJOR], m4_bpatsubst([$2], [\..*]))dnl
AC_SUBST(ma_upper[_VERSION_MINOR], m4_bregexp([$2], [\.\([0-9]+\)\.], [\1]))dnl
AC_SUBST(ma_upper[_VERSION_MICRO], m4_bregexp([$2], [\([0-9]+\)$], [\1]))dnl
AC_SUBST(ma_upper[_LTVERSION], [$3])dnl
m4_popdef([ma_upper])dnl
MA_LIBRARIES="${MA_LIBRARIES:+$MA_LIBRARIES }$1"
AC_SUBST([MA_LIBRARIES])dnl
AC_CONFIG_FILES([lib$1/lib$1.pc lib$1/include/$1.h])dnl
])
