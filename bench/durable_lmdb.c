/* SPDX-License-Identifier: BSD-3-Clause */
/* LMDB: a change is one transaction. */
#include <lmdb.h>
#include <stddef.h>
#include <string.h>

#include "durable.h"

#define FILL_AT_ONCE 10000

static MDB_env *env;
static MDB_dbi dbi;

static void must(int error)
{
	if (error)
		die(mdb_strerror(error));
}

static void put(MDB_txn *txn, uint32_t block, const void *bytes, unsigned how)
{
	MDB_val key = { sizeof(block), &block }, value = { BLOCK_BYTES, NULL };

	memcpy(&value.mv_data, &bytes, sizeof(bytes)); /* It takes no const. */
	must(mdb_put(txn, dbi, &key, &value, how));
}

static void fill_some(uint32_t from, uint32_t end)
{
	char bytes[BLOCK_BYTES];
	MDB_txn *txn;

	must(mdb_txn_begin(env, NULL, 0, &txn));
	if (from == 0)
		must(mdb_dbi_open(txn, NULL, MDB_INTEGERKEY, &dbi));
	for (uint32_t i = from; i < end; i++) {
		memset(bytes, (int)i | 1, sizeof(bytes));
		put(txn, i, bytes, MDB_APPEND);
	}
	must(mdb_txn_commit(txn));
}

static void fill(const char *dir, uint32_t blocks)
{
	must(mdb_env_create(&env));
	must(mdb_env_set_mapsize(env, (size_t)blocks * BLOCK_BYTES * 2 + ((size_t)64 << 20)));
	must(mdb_env_open(env, path_in(dir, "lmdb"), MDB_NOSUBDIR, 0600));
	for (uint32_t i = 0; i < blocks; i += FILL_AT_ONCE)
		fill_some(i, i + FILL_AT_ONCE < blocks ? i + FILL_AT_ONCE : blocks);
}

static void change(const uint32_t *block, uint32_t count, const void *bytes)
{
	MDB_txn *txn;

	must(mdb_txn_begin(env, NULL, 0, &txn));
	for (uint32_t i = 0; i < count; i++)
		put(txn, block[i], bytes, 0);
	must(mdb_txn_commit(txn));
}

static void close_it(void)
{
	mdb_env_close(env);
}

const struct store store_lmdb = { "LMDB", fill, change, close_it };
