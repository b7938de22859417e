/* SPDX-License-Identifier: BSD-3-Clause */
/* What support.c needs from support_dir.c at the end of the program. */
#ifndef MA_TESTS_SUPPORT_DIR_H
#define MA_TESTS_SUPPORT_DIR_H

/* Remove the directory and what is in it. Async-signal-safe. */
void support__dir_remove(void);
/* Free the paths. */
void support__dir_forget(void);

#endif /* MA_TESTS_SUPPORT_DIR_H */
