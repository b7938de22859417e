dnl SPDX-License-Identifier: BSD-3-Clause
dnl
dnl MA_WERROR: --enable-werror turns warnings into errors. CI uses it; users with other compilers do not want it.
AC_DEFUN([MA_WERROR],
[AC_ARG_ENABLE([werror],
	[AS_HELP_STRING([--enable-werror],[treat compiler warnings as errors])],[],[enable_werror=no])
AS_IF([test "x$enable_werror" = xyes],
	[AS_VAR_APPEND([MA_CFLAGS],[" -Werror"])
	 AS_VAR_APPEND([MA_CXXFLAGS],[" -Werror"])])
])

dnl MA_SANITIZER: --enable-sanitizer=LIST, where LIST is what -fsanitize= takes (address,undefined or thread).
dnl -fno-sanitize-recover makes UBSan's findings fail the test instead of being only printed.
dnl MA_SANITIZER_FLAGS also goes to the programs that the install test compiles.
AC_DEFUN([MA_SANITIZER],
[AC_ARG_ENABLE([sanitizer],
	[AS_HELP_STRING([--enable-sanitizer=LIST],[build with -fsanitize=LIST, e.g. address,undefined or thread])],
	[],[enable_sanitizer=no])
MA_SANITIZER_LIST=
MA_SANITIZER_FLAGS=
AS_CASE([$enable_sanitizer],
	[no|''],[],
	[yes],[AC_MSG_ERROR([--enable-sanitizer needs a list, e.g. --enable-sanitizer=address,undefined])],
	[MA_SANITIZER_LIST=$enable_sanitizer
	 MA_SANITIZER_FLAGS="-fsanitize=$enable_sanitizer -fno-sanitize-recover=all -fno-omit-frame-pointer"
	 AX_CHECK_LINK_FLAG([$MA_SANITIZER_FLAGS],[],
		[AC_MSG_ERROR([$CC cannot link with $MA_SANITIZER_FLAGS])])])
AC_SUBST([MA_SANITIZER_LIST])
AC_SUBST([MA_SANITIZER_FLAGS])
])
