/* SPDX-License-Identifier: BSD-3-Clause */
/* SQLite with a write-ahead log, each transaction on disk (synchronous=FULL). What the log's own checkpoints cost comes now and then. */
#include <sqlite3.h>
#include <stddef.h>
#include <string.h>

#include "durable.h"

static sqlite3 *db;
static sqlite3_stmt *put_row;

static void must(int result)
{
	if (result != SQLITE_OK && result != SQLITE_DONE)
		die(sqlite3_errmsg(db));
}

static void run(const char *sql)
{
	must(sqlite3_exec(db, sql, NULL, NULL, NULL));
}

static void put(uint32_t block, const void *bytes)
{
	must(sqlite3_bind_int64(put_row, 1, block + 1));
	must(sqlite3_bind_blob(put_row, 2, bytes, BLOCK_BYTES, SQLITE_STATIC));
	must(sqlite3_step(put_row));
	must(sqlite3_reset(put_row));
}

static void fill(const char *dir, uint32_t blocks)
{
	char bytes[BLOCK_BYTES];

	must(sqlite3_open(path_in(dir, "sqlite"), &db));
	run("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB); BEGIN");
	must(sqlite3_prepare_v2(db, "INSERT OR REPLACE INTO t VALUES(?, ?)", -1, &put_row, NULL));
	for (uint32_t i = 0; i < blocks; i++) {
		memset(bytes, (int)i | 1, sizeof(bytes));
		put(i, bytes);
	}
	run("COMMIT; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL");
}

static void change(const uint32_t *block, uint32_t count, const void *bytes)
{
	run("BEGIN");
	for (uint32_t i = 0; i < count; i++)
		put(block[i], bytes);
	run("COMMIT");
}

static void close_it(void)
{
	sqlite3_finalize(put_row);
	sqlite3_close(db);
}

const struct store store_sqlite = { "SQLite, WAL, synchronous=FULL", fill, change, close_it };
